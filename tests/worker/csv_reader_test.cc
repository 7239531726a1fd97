// Records of csv files, however they are written.
#include "worker/data/csv_reader.h"

#include <string>
#include <vector>

#include "common/exit_codes.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tributary::worker {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

CsvReader Open(absl::string_view text, std::optional<char> separator = std::nullopt) {
  absl::StatusOr<CsvReader> reader = CsvReader::Open("t.csv", text, separator);
  EXPECT_TRUE(reader.ok()) << reader.status();
  return *std::move(reader);
}

std::vector<std::string> NextOf(CsvReader& reader) {
  std::vector<std::string> fields;
  const absl::StatusOr<bool> more = reader.Next(fields);
  EXPECT_TRUE(more.ok() && *more) << more.status();
  return fields;
}

std::string ErrorOf(absl::string_view text) {
  absl::StatusOr<CsvReader> reader = CsvReader::Open("t.csv", text, std::nullopt);
  absl::Status status = reader.status();
  std::vector<std::string> fields;
  while (status.ok()) {
    const absl::StatusOr<bool> more = reader->Next(fields);
    if (more.ok() && !*more) {
      break;
    }
    status = more.status();
  }
  EXPECT_EQ(ExitCodeOf(status), ExitCode::kData);
  return std::string(status.message());
}

TEST(CsvReader, TheSeparatorIsTheOneThatTheHeaderHasMostOf) {
  EXPECT_THAT(Open("a;b, in mm;c\n").header(), ElementsAre("a", "b, in mm", "c"));
  EXPECT_THAT(Open("a\tb\n").header(), ElementsAre("a", "b"));
  EXPECT_THAT(Open("a|b\n").header(), ElementsAre("a", "b"));
  EXPECT_THAT(Open("\"a;b;c\",d\n").header(), ElementsAre("a;b;c", "d")) << "quoted ones do not count";
  EXPECT_THAT(Open("a;b,c\n").header(), ElementsAre("a;b", "c")) << "of as many of two, the comma";
}

TEST(CsvReader, WhatTheFileSaysGoesBeforeWhatTheSiteSays) {
  EXPECT_THAT(Open("a:b,c\n", ':').header(), ElementsAre("a", "b,c"));
  EXPECT_THAT(Open("sep=|\na|b;c\n", ';').header(), ElementsAre("a", "b;c"));
}

TEST(CsvReader, AQuotedFieldMayHoldSeparatorsQuotesAndLineEnds) {
  CsvReader reader = Open("a,b\r\n\"x, \"\"y\"\"\r\nz\" , 2\r\n\r\n3,4\r\n");
  EXPECT_THAT(NextOf(reader), ElementsAre("x, \"y\"\r\nz", "2"));
  EXPECT_EQ(reader.line(), 2u);
  EXPECT_THAT(NextOf(reader), ElementsAre("3", "4"));
  EXPECT_EQ(reader.line(), 5u);
  std::vector<std::string> fields;
  EXPECT_FALSE(*reader.Next(fields));
}

TEST(CsvReader, BlanksInQuotesAreKeptUnlessStripped) {
  const std::string text = "\" a \",b\n";
  EXPECT_THAT(Open(text).header(), ElementsAre(" a ", "b"));
  EXPECT_THAT(CsvReader::Open("t.csv", text, std::nullopt, CsvReader::QuotedBlanks::kStripped)->header(), ElementsAre("a", "b"));
}

TEST(CsvReader, ALineOfTabsIsARecordWhereTheySeparate) {
  CsvReader reader = Open("\t\na\tb\n\t\n \n1\t2\n");
  EXPECT_THAT(NextOf(reader), ElementsAre("", ""));
  EXPECT_EQ(reader.line(), 3u);
  EXPECT_THAT(NextOf(reader), ElementsAre("1", "2"));
}

TEST(CsvReader, ALineOfSeparatorsCostsNoMoreThanTheHeader) {
  EXPECT_THAT(ErrorOf("a,b\n" + std::string(100'000, ',') + "\n"), HasSubstr("t.csv:2: more values than the header, which has 2"));
  EXPECT_THAT(ErrorOf(std::string(CsvReader::kMaxColumns, ',') + "\n"), HasSubstr("t.csv:1: more than 1000000 columns"));
  CsvReader reader = Open("a,b\n,,,,,,,,,,,,,,,,,,,,,,,,,\n");
  std::vector<std::string> fields;
  EXPECT_FALSE(reader.Next(fields).ok());
  EXPECT_EQ(fields.size(), 3u);
}

TEST(CsvReader, EmptyFieldsAreFieldsAlsoAtTheEnd) {
  CsvReader reader = Open("a;b;c\n;;\n1;;");
  EXPECT_THAT(NextOf(reader), ElementsAre("", "", ""));
  EXPECT_THAT(NextOf(reader), ElementsAre("1", "", ""));
}

TEST(CsvReader, ErrorsNameTheLineOnWhichTheRecordBegins) {
  EXPECT_THAT(ErrorOf("a,b\n1,2\n3,\"4\n5,6\n"), HasSubstr("t.csv:3: a quoted field is not closed"));
  EXPECT_THAT(ErrorOf("a,b\n\"1\n\"2,3\n"), HasSubstr("t.csv:2: text after the closing quote"));
  EXPECT_THAT(ErrorOf("a,b\n\"1\n\",2\n3\n"), HasSubstr("t.csv:4: 1 value, but the header has 2"));
  EXPECT_THAT(ErrorOf("\n\n"), HasSubstr("t.csv: the file is empty"));
}

}  // namespace
}  // namespace tributary::worker
