#include "common/format_bytes.h"

#include "gtest/gtest.h"

namespace tributary {
namespace {

TEST(FormatBytes, HasAUnit) {
  EXPECT_EQ(FormatBytes(0), "0 B");
  EXPECT_EQ(FormatBytes(1023), "1023 B");
  EXPECT_EQ(FormatBytes(1536), "1.50 KiB");
  EXPECT_EQ(FormatBytes(3.0 * (1 << 30)), "3.00 GiB");
}

}  // namespace
}  // namespace tributary
