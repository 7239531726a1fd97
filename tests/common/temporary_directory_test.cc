#include "common/temporary_directory.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <utility>

namespace tributary {
namespace {

TEST(TemporaryDirectory, IsGoneWithAllThatIsInItWhenItsOwnerIsDone) {
  std::string path;
  {
    const TemporaryDirectory directory = TemporaryDirectory::Create(TemporaryDirectory::Medium::kMemory).value();
    path = directory.path();
    std::ofstream(directory.File("file")) << "x";
    std::filesystem::create_directory(directory.File("folder"));
    EXPECT_TRUE(std::filesystem::exists(path + "/file"));
  }
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST(TemporaryDirectory, OutlivesTheOwnerThatItWasMovedFrom) {
  std::optional<TemporaryDirectory> first = TemporaryDirectory::Create(TemporaryDirectory::Medium::kDisk).value();
  const TemporaryDirectory second = *std::move(first);
  first.reset();
  EXPECT_TRUE(std::filesystem::is_directory(second.path()));
}

}  // namespace
}  // namespace tributary
