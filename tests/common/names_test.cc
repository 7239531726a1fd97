#include "common/names.h"

#include <gtest/gtest.h>

#include <string>

namespace tributary {
namespace {

TEST(NamesTest, ANameIsADnsLabelInLowerCase) {
  for (const char* good : {"a", "0", "site-1", "a--b"}) {
    EXPECT_TRUE(IsName(good)) << good;
  }
  EXPECT_TRUE(IsName(std::string(63, 'x')));
  for (const char* bad : {"", "-a", "a-", "A", "a.b", "a/b", "a b", "ä", "a\n"}) {
    EXPECT_FALSE(IsName(bad)) << bad;
  }
  EXPECT_FALSE(IsName(std::string(64, 'x')));
}

}  // namespace
}  // namespace tributary
