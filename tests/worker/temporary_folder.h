// A data folder that is gone after the test.
#ifndef TRIBUTARY_TESTS_WORKER_TEMPORARY_FOLDER_H_
#define TRIBUTARY_TESTS_WORKER_TEMPORARY_FOLDER_H_

#include <fstream>
#include <string>

#include "absl/strings/string_view.h"
#include "gtest/gtest.h"
#include "tests/common/temporary_directory.h"

namespace tributary::worker {

class TemporaryFolder : public TemporaryDirectory {
 public:
  void Write(const std::string& name, absl::string_view bytes) const {
    std::ofstream file(File(name), std::ios::binary);
    file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    EXPECT_TRUE(file.good());
  }
};

}  // namespace tributary::worker

#endif  // TRIBUTARY_TESTS_WORKER_TEMPORARY_FOLDER_H_
