// The section `csv` of worker.yaml.
#include "worker/table_config.h"

#include <string>

#include "common/exit_codes.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "proto/config/yaml.h"

namespace tributary::worker {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

absl::StatusOr<CsvFormat> FormatOf(absl::string_view yaml) {
  v1::CsvConfig csv;
  const absl::Status status = ParseYaml(yaml, "csv", &csv);
  EXPECT_TRUE(status.ok()) << status;
  return CsvFormatOf(csv);
}

TEST(TableConfig, WhatIsNotSaidIsFoundOut) {
  const CsvFormat format = FormatOf("{}").value();
  EXPECT_FALSE(format.separator.has_value() || format.decimal.has_value() || format.encoding.has_value());
}

TEST(TableConfig, EachKeyIsRead) {
  const CsvFormat format =
      FormatOf("{separator: tab, decimal: comma, encoding: windows-1252, rename: [\"a = b=age\"], missing: [NA, \"-9\"]}").value();
  EXPECT_EQ(format.separator, '\t');
  EXPECT_EQ(format.decimal, ',');
  EXPECT_EQ(format.encoding, Encoding::kWindows1252);
  ASSERT_EQ(format.rename.size(), 1u);
  EXPECT_EQ(format.rename[0].theirs, "a = b");
  EXPECT_EQ(format.rename[0].ours, "age");
  EXPECT_THAT(format.missing, ElementsAre("NA", "-9"));
}

TEST(TableConfig, WhatCannotBeIsRefusedByItsKey) {
  for (const auto& [yaml, problem] : {std::pair{"separator: comma", "csv.separator: 'comma' is neither one character"},
                                      std::pair{"separator: \".\"", "csv.separator: '.' is neither"},
                                      std::pair{"decimal: dot", "csv.decimal: 'dot' is not point or comma"},
                                      std::pair{"encoding: ascii", "csv.encoding: 'ascii' is not utf-8, utf-16"},
                                      std::pair{"rename: [age]", "csv.rename: 'age' is not THEIRS=OURS"}}) {
    const absl::Status status = FormatOf(yaml).status();
    EXPECT_THAT(status.message(), HasSubstr(problem));
    EXPECT_EQ(ExitCodeOf(status), ExitCode::kUsage);
  }
}

}  // namespace
}  // namespace tributary::worker
