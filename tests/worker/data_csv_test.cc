// Tables as training and validation batches, and what bad rows get.
#include <cmath>
#include <filesystem>
#include <set>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/exit_codes.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/common/test_folder.h"
#include "worker/data/data_source.h"
#include "worker/refusal.h"

namespace tributary::worker {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

DataOptions OptionsFor(const TestFolder& folder) {
  DataOptions options;
  options.folder = folder.path();
  options.validation_fraction = 0.25;
  options.evaluation_batches = 4;
  options.batch_size = 3;
  return options;
}

TableOptions TwoColumns() {
  return {"y", 2, 3};
}

std::string ErrorOf(absl::string_view text) {
  TestFolder folder;
  folder.Write("t.csv", text);
  const auto source = MakeCsvSource(OptionsFor(folder), TwoColumns());
  EXPECT_FALSE(source.ok());
  EXPECT_EQ(ExitCodeOf(source.status()), ExitCode::kData);
  return std::string(source.status().message());
}

// What the operator is told of it.
std::string ToldOf(absl::string_view text) {
  TestFolder folder;
  folder.Write("t.csv", text);
  return RefusalOf(MakeCsvSource(OptionsFor(folder), TwoColumns()).status());
}

TEST(CsvSource, OthersAreToldWhatOfTheRunDoesNotFitAndNothingOfTheTable) {
  EXPECT_EQ(ToldOf("secret,b,z\n"), "no column 'y' (the run's data.label_column)");
  EXPECT_EQ(ToldOf("secret,y\n"), "1 columns besides the label, but the run's model takes 2 (model.mlp.inputs)");
  EXPECT_EQ(ToldOf("a,b,y\n1,2,17\n"), "a label is not an integer from 0 to 2 (the run's model.mlp.outputs is 3)");
  EXPECT_EQ(ToldOf("a,b,y\n1,2,0\n"), "too few rows for the run's data.validation_fraction, 0.25");
  EXPECT_EQ(ToldOf("a,b,y\n1,secret,0\n"), "this site cannot train the run; its own log says why");
}

TEST(CsvSource, OthersAreToldThatThereIsNoTable) {
  TestFolder folder;
  folder.Write("secret.txt", "text");
  EXPECT_EQ(RefusalOf(MakeCsvSource(OptionsFor(folder), TwoColumns()).status()), "this site holds no .csv files (the run's data.kind)");
}

TEST(CsvSource, EveryFourthRowIsHeldOutForAQuarter) {
  TestFolder folder;
  std::string text = "a,y,b\n";
  for (int i = 0; i < 16; ++i) {
    text += absl::StrCat(i, ",", i % 4 == 3 ? 1 : 0, ",", 100 - i, "\n");
  }
  folder.Write("t.csv", text);
  const auto source = MakeCsvSource(OptionsFor(folder), TwoColumns());
  ASSERT_TRUE(source.ok()) << source.status();
  std::vector<int64_t> held_out;
  for (uint32_t i = 0; i < (*source)->validation_batches(); ++i) {
    const Batch batch = (*source)->Validation(i);
    EXPECT_EQ(batch.features.size(), 2 * batch.targets.size());
    held_out.insert(held_out.end(), batch.targets.begin(), batch.targets.end());
  }
  EXPECT_THAT(held_out, ElementsAre(1, 1, 1, 1));
  EXPECT_THAT((*source)->TrainingTargetCounts(), ElementsAre(12, 0, 0));
}

TEST(CsvSource, FeaturesAreStandardisedWithTheTrainingRowsOnly) {
  TestFolder folder;
  // The held-out row is far away; a column that never changes becomes 0.
  folder.Write("t.csv", "a,b,y\n1,5,0\n3,5,1\n1,5,0\n1000,5,2\n3,5,1\n");
  const auto source = MakeCsvSource(OptionsFor(folder), TwoColumns());
  ASSERT_TRUE(source.ok()) << source.status();
  EXPECT_EQ((*source)->training_samples(), 4u);
  CounterRng rng("test");
  const Batch batch = (*source)->DrawTraining(rng, 64);
  for (size_t row = 0; row < 64; ++row) {
    EXPECT_FLOAT_EQ(batch.features[2 * row], batch.targets[row] == 0 ? -1.0f : 1.0f);
    EXPECT_EQ(batch.features[2 * row + 1], 0.0f);
  }
  EXPECT_FLOAT_EQ((*source)->Validation(0).features[0], 998.0f);
}

TEST(CsvSource, TheLabelMayStandInAnyColumnAndFilesAreJoined) {
  TestFolder folder;
  folder.Write("1.csv", "y,a,b\n0,1,2\n1,2,3\n");
  folder.Write("2.csv", "y,a,b\n2,1,2\n2,2,3\n");
  folder.Write("notes.txt", "not a table");
  const auto source = MakeCsvSource(OptionsFor(folder), TwoColumns());
  ASSERT_TRUE(source.ok()) << source.status();
  EXPECT_THAT((*source)->TrainingTargetCounts(), ElementsAre(1, 1, 1));
}

TEST(CsvSource, QuotesByteOrderMarksBlankLinesAndWindowsLineEndsAreUnderstood) {
  TestFolder folder;
  folder.Write("t.csv", "\xef\xbb\xbf\"a, left\",\"say \"\"b\"\"\",\"y\"\r\n\r\n\"1.5\", +2 ,0\r\n-1e-3,.5,1\r\n1,2,2\r\n1,2,2");
  const auto source = MakeCsvSource(OptionsFor(folder), TwoColumns());
  ASSERT_TRUE(source.ok()) << source.status();
  EXPECT_THAT((*source)->TrainingTargetCounts(), ElementsAre(1, 1, 1));
}

std::vector<uint64_t> CountsOf(const std::string& name, absl::string_view text) {
  TestFolder folder;
  folder.Write(name, text);
  const auto source = MakeCsvSource(OptionsFor(folder), TwoColumns());
  EXPECT_TRUE(source.ok()) << source.status();
  return source.ok() ? (*source)->TrainingTargetCounts() : std::vector<uint64_t>();
}

TEST(CsvSource, FilesAreReadWhateverTheirLineEndsTheCaseOfTheirNameOrTheSeparatorTheyName) {
  EXPECT_THAT(CountsOf("T.CSV", "a,b,y\n1,2,0\n1,2,1\n1,2,2\n1,2,2\n"), ElementsAre(1, 1, 1));
  EXPECT_THAT(CountsOf("mac.csv", "a,b,y\r1,2,0\r1,2,1\r\r1,2,2\r1,2,2"), ElementsAre(1, 1, 1));
  EXPECT_THAT(CountsOf("t.csv", "\xef\xbb\xbfsep=;\r\na;b;y\r\n1;2;0\r\n1;2;1\r\n1;2;2\r\n1;2;2\r\n"), ElementsAre(1, 1, 1));
  EXPECT_THAT(CountsOf("t.csv", "sep=\t\na\t\"b\"\ty\n1\t2\t0\n1\t2\t1\n1\t2\t2\n1\t2\t2\n"), ElementsAre(1, 1, 1));
}

TEST(CsvSource, WhatIsNotReadIsNamed) {
  EXPECT_THAT(ErrorOf("sep=x\naxb\n"), HasSubstr("/t.csv:1: fields are separated by a comma, a semicolon, a bar or a tab"));
  EXPECT_THAT(ErrorOf(absl::string_view("a\0,\0y\0", 6)), HasSubstr("/t.csv: byte 1 is 0, as in UTF-16"));
}

TEST(CsvSource, SeparatorDecimalCommaAndUtf16AreFoundOut) {
  EXPECT_THAT(CountsOf("t.csv", "a;b;y\n1,5;2;0\n1;2,5;1\n1;2;2\n1;2;2\n"), ElementsAre(1, 1, 1));
  std::string wide = "\xff\xfe";
  for (const char c : absl::string_view("a\tb\ty\n1\t2\t0\n1\t2\t1\n1\t2\t2\n1\t2\t2\n")) {
    wide += {c, '\0'};
  }
  EXPECT_THAT(CountsOf("t.csv", wide), ElementsAre(1, 1, 1));
}

TEST(CsvSource, ALabelMayBeANumber) {
  TestFolder folder;
  folder.Write("t.csv", "a,b,y\n1,2,10.5\n2,2,20.5\n3,2,10.5\n3,2,15.5\n4,2,20.5\n");
  TableOptions table = TwoColumns();
  table.outputs = 0;
  const auto source = MakeCsvSource(OptionsFor(folder), table);
  ASSERT_TRUE(source.ok()) << source.status();
  EXPECT_THAT((*source)->TrainingTargetCounts(), ElementsAre());
  const Batch batch = (*source)->Validation(0);
  EXPECT_THAT(batch.targets, ElementsAre());
  EXPECT_THAT(batch.values, ElementsAre(0.0F)) << "the mean of the four others, whose deviation is 5";
  EXPECT_DOUBLE_EQ((*source)->value_scale(), 5);
}

TEST(CsvSource, SaysWhatWasReadAndWhatWasLeftOut) {
  TestFolder folder;
  folder.Write("1.csv", "y,a,b\n0,1,2\n1,2,3\n");
  folder.Write("2.csv", "y,a,b\n2,1,2\n2,2,3\n");
  folder.Write("notes.txt", "not a table");
  folder.Write(".hidden.csv", "");
  std::filesystem::create_directory(folder.File("old"));
  std::filesystem::create_symlink("/nonexistent", folder.File("gone.csv"));
  const auto source = MakeCsvSource(OptionsFor(folder), TwoColumns());
  ASSERT_TRUE(source.ok()) << source.status();
  EXPECT_EQ((*source)->description().text,
            "2 files, 36 B, 4 rows (3 for training, 1 for validation), 2 columns besides the label; not read: .hidden.csv (hidden), "
            "gone.csv (a link that leads to no file), notes.txt (not .csv), old (a folder)");
}

std::string ColumnsOf(absl::string_view text) {
  TestFolder folder;
  folder.Write("t.csv", text);
  const auto source = MakeCsvSource(OptionsFor(folder), TwoColumns());
  EXPECT_TRUE(source.ok()) << source.status();
  return source.ok() ? (*source)->description().columns_digest : "";
}

TEST(CsvSource, TheDigestOfTheColumnsIsOfTheirNamesAndTheirOrderAlone) {
  const std::string digest = ColumnsOf("a,b,y\n1,2,0\n1,2,1\n1,2,2\n1,2,2\n");
  EXPECT_EQ(digest.size(), 32u);
  EXPECT_EQ(ColumnsOf("y,a,b\n0,3,4\n1,1,2\n1,1,2\n1,1,2\n"), digest) << "where the label stands does not matter";
  EXPECT_EQ(ColumnsOf("sep=;\n \"a\";b ;y\n3;4;0\n1;2;1\n1;2;1\n1;2;1\n"), digest) << "nor how it is written";
  EXPECT_NE(ColumnsOf("b,a,y\n1,2,0\n1,2,1\n1,2,2\n1,2,2\n"), digest);
  EXPECT_NE(ColumnsOf("a,c,y\n1,2,0\n1,2,1\n1,2,2\n1,2,2\n"), digest);
  EXPECT_NE(ColumnsOf("a,b ,y\n1,2,0\n1,2,1\n1,2,2\n1,2,2\n"), ColumnsOf("ab,,y\n1,2,0\n1,2,1\n1,2,2\n1,2,2\n"));
}

TEST(CsvSource, ACommaSeparatesWhereItGivesTheLabel) {
  EXPECT_THAT(ErrorOf("x|1|2,b,y\n1,two,0\n"), HasSubstr("/t.csv:2: column 'b': 'two'"));
  EXPECT_THAT(ErrorOf("x, in mm;b;y\n1;two;0\n"), HasSubstr("/t.csv:2: column 'b': 'two'"));
}

TEST(CsvSource, ARowOfAnotherLengthNamesFileAndLine) {
  const std::string error = ErrorOf("a,b,y\n1,2,0\n\n1,2\n");
  EXPECT_THAT(error, HasSubstr("/t.csv:4: 2 values, but the header has 3"));
}

TEST(CsvSource, AFieldThatIsNotANumberNamesItsColumn) {
  EXPECT_THAT(ErrorOf("a,b,y\n1,two,0\n"), HasSubstr("/t.csv:2: column 'b': 'two' is not a finite number"));
  EXPECT_THAT(ErrorOf("a,b,y\n1,,0\n"), HasSubstr(":2: column 'b': an empty field"));
  EXPECT_THAT(ErrorOf("a,b,y\n1,nan,0\n"), HasSubstr("'nan' is not a finite number"));
  EXPECT_THAT(ErrorOf("a,b,y\n1,1e300,0\n"), HasSubstr("'1e300' is not a finite number"));
  EXPECT_THAT(ErrorOf("a,b,y\n1,0x10,0\n"), HasSubstr("'0x10' is not a finite number"));
}

TEST(CsvSource, ALabelOutsideTheClassesIsRefused) {
  EXPECT_THAT(ErrorOf("a,b,y\n1,2,3\n"), HasSubstr("/t.csv:2: label '3' is not an integer from 0 to 2"));
  EXPECT_THAT(ErrorOf("a,b,y\n1,2,0.5\n"), HasSubstr("label '0.5'"));
  EXPECT_THAT(ErrorOf("a,b,y\n1,2,-1\n"), HasSubstr("label '-1'"));
}

TEST(CsvSource, AHeaderThatDoesNotFitIsRefused) {
  EXPECT_THAT(ErrorOf("a,b,z\n"), HasSubstr("/t.csv:1: no column 'y' (the run's data.label_column); the columns are: a, b, z"));
  EXPECT_THAT(ErrorOf("a,y\n"), HasSubstr("1 columns besides the label, but the run's model takes 2"));
  EXPECT_THAT(ErrorOf("a,a,y\n"), HasSubstr("column 'a' appears twice"));
  EXPECT_THAT(ErrorOf("a b y\n"),
              HasSubstr("no column 'y' (the run's data.label_column); the columns are: a b y (separated by: comma, unless csv.separator"));
  EXPECT_THAT(ErrorOf(""), HasSubstr("/t.csv: the file is empty"));
  EXPECT_THAT(ErrorOf("a,b,\"y\n"), HasSubstr("/t.csv:1: a quoted field is not closed"));
}

TEST(CsvSource, FilesWithDifferentHeadersAreRefused) {
  TestFolder folder;
  folder.Write("1.csv", "a,b,y\n1,2,0\n");
  folder.Write("2.csv", "b,a,y\n1,2,0\n");
  const auto source = MakeCsvSource(OptionsFor(folder), TwoColumns());
  EXPECT_THAT(source.status().message(), HasSubstr("2.csv:1: the header differs from that of "));
}

TEST(CsvSource, TooFewRowsForASplitAreRefused) {
  EXPECT_THAT(ErrorOf("a,b,y\n1,2,0\n1,2,1\n"),
              HasSubstr("too few rows: 2 with validation_fraction 0.25 leave 2 for training and 0 for validation"));
}

TEST(CsvSource, AFolderWithoutTablesSaysSo) {
  TestFolder folder;
  folder.Write("data.tsv", "a\tb\n");
  EXPECT_THAT(MakeCsvSource(OptionsFor(folder), TwoColumns()).status().message(), HasSubstr("holds no .csv files"));
}

}  // namespace
}  // namespace tributary::worker
