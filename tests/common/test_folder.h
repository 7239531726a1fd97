// A folder for one test, gone after it.
#ifndef TRIBUTARY_TESTS_COMMON_TEST_FOLDER_H_
#define TRIBUTARY_TESTS_COMMON_TEST_FOLDER_H_

#include <gtest/gtest.h>

#include <fstream>
#include <string>

#include "absl/strings/string_view.h"
#include "common/temporary_directory.h"

namespace tributary {

class TestFolder {
 public:
  // Throws, which fails the test, if there can be none.
  explicit TestFolder(TemporaryDirectory::Medium medium = TemporaryDirectory::Medium::kDisk)
      : directory_(TemporaryDirectory::Create(medium).value()) {}

  const std::string& path() const { return directory_.path(); }
  std::string File(const std::string& name) const { return directory_.File(name); }
  void Write(const std::string& name, absl::string_view bytes) const {
    std::ofstream file(File(name), std::ios::binary);
    file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    EXPECT_TRUE(file.good());
  }

 private:
  const TemporaryDirectory directory_;
};

}  // namespace tributary

#endif  // TRIBUTARY_TESTS_COMMON_TEST_FOLDER_H_
