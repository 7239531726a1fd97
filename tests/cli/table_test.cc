#include "cli/table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_split.h"

namespace tributary::cli {
namespace {

TEST(TableTest, AlignsColumns) {
  EXPECT_EQ(FormatTable({{"A", "B"}, {"long", ""}, {"x", "y"}}), "A     B\nlong\nx     y\n");
}

TEST(TableTest, CountsCharactersAndNotBytes) {
  EXPECT_EQ(FormatTable({{"ü", "b"}, {"xx", "y"}}), "ü   b\nxx  y\n");
}

TEST(TableTest, TheLastColumnGoesOnBelowItself) {
  EXPECT_EQ(FormatTable({{"A", "B"}, {"x", "one two three four five"}}, {20, {}}), "A  B\nx  one two three\n   four five\n");
}

TEST(TableTest, LeavesOutTheLeastImportantColumnsFirst) {
  const std::vector<std::vector<std::string>> rows = {{"NAME", "ID", "HASH"}, {"berlin", "berlin-1", "0123456789ab"}};
  EXPECT_EQ(FormatTable(rows, {22, {"HASH", "ID"}}), "NAME    ID\nberlin  berlin-1\n");
  EXPECT_EQ(FormatTable(rows, {8, {"HASH", "ID"}}), "NAME\nberlin\n");
}

TEST(TableTest, NoLineIsLongerThanTheTerminal) {
  for (size_t columns = 3; columns < 60; ++columns) {
    const std::string text =
        FormatTable({{"NAME", "STATE", "REASON"}, {"zürich", "waiting", "1 of 2 sites für Zürich areready"}}, {columns, {"STATE"}});
    for (const absl::string_view line : absl::StrSplit(text, '\n')) {
      EXPECT_LE(WidthOf(line), columns) << text;
    }
  }
}

}  // namespace
}  // namespace tributary::cli
