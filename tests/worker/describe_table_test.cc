// What is proposed to a run, from one site's files.
#include "worker/data/describe_table.h"

#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/exit_codes.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "proto/config/run_options.h"
#include "proto/config/yaml.h"
#include "tests/common/test_folder.h"
#include "tributary/v1/run.pb.h"
#include "worker/data/data_source.h"
#include "worker/table_config.h"

namespace tributary::worker {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// 40 patients: an identifier, a name, a number, one with gaps, a category with a rare value, a constant, and who died.
std::string Patients() {
  std::string text = "id;name;age;crp \"mg/L\";sex;site;died\n";
  for (int i = 0; i < 40; ++i) {
    absl::StrAppend(&text, 1000 + i, ";Patient ", i, ";", 30 + i % 17, ",5;", i % 7 == 0 ? "NA" : absl::StrCat(i % 5), ";",
                    i == 3       ? "unusual"
                    : i % 2 == 0 ? "f"
                                 : "m",
                    ";here;", i % 3 == 0 ? "yes" : "no", "\n");
  }
  return text;
}

absl::StatusOr<std::string> Described(absl::string_view text, const std::string& label = "") {
  TestFolder folder;
  folder.Write("t.csv", text);
  return DescribeTable({folder.File("t.csv")}, {}, label);
}

// The run of a proposal.
v1::RunSpec RunOf(const std::string& proposal) {
  v1::RunSpec run;
  const absl::Status status =
      ParseYaml(absl::StrCat("name: r\nrounds: 1\noptimizer: {mode: distro, learning_rate: {peak: 0.01}}\n", proposal), "run.yaml", &run);
  EXPECT_TRUE(status.ok()) << status << "\n" << proposal;
  EXPECT_EQ(ValidateRunSpec(run), absl::OkStatus()) << proposal;
  return run;
}

TEST(DescribeTable, TheProposalIsARunThatReadsTheSameFiles) {
  const absl::StatusOr<std::string> proposal = Described(Patients());
  ASSERT_TRUE(proposal.ok()) << proposal.status();
  const v1::RunSpec run = RunOf(*proposal);
  EXPECT_EQ(run.data().columns_size(), 3);
  EXPECT_EQ(run.model().mlp().inputs(), 6u) << "age, crp and its flag, f, m and others";
  EXPECT_EQ(run.model().mlp().outputs(), 2u);
  EXPECT_THAT(*proposal, HasSubstr("csv: {missing: [\"NA\"]}"));
  v1::CsvConfig csv;
  csv.add_missing("NA");
  TestFolder folder;
  folder.Write("t.csv", Patients());
  const auto source = MakeCsvSource({folder.path(), 0.25, 4, 8}, TableOptionsOf(run.data(), csv).value());
  EXPECT_TRUE(source.ok()) << source.status();
}

TEST(DescribeTable, ItTellsNothingThatFewRowsHave) {
  const std::string proposal = Described(Patients()).value();
  EXPECT_THAT(proposal, Not(HasSubstr("unusual")));
  EXPECT_THAT(proposal, Not(HasSubstr("Patient")));
  EXPECT_THAT(proposal, Not(HasSubstr("1000")));
  EXPECT_THAT(proposal, HasSubstr("values: [\"f\", \"m\"], other: true}"));
  EXPECT_THAT(proposal, HasSubstr("# left out: id (another whole number in each row: an identifier?)"));
  EXPECT_THAT(proposal, HasSubstr("# left out: name (text that differs from row to row"));
  EXPECT_THAT(proposal, HasSubstr("# left out: site (it is always the same)"));
}

TEST(DescribeTable, WhatMayNameAPersonIsAsked) {
  std::string text = "case,name,age,died\n";
  for (int i = 0; i < 60; ++i) {
    absl::StrAppend(&text, 1000 + i / 3, ",", i % 2 == 0 ? "Smith" : "Miller", ",", 40 + i % 10, ",", i % 2, "\n");
  }
  const std::string proposal = Described(text).value();
  EXPECT_THAT(proposal, HasSubstr("Rows are not persons: read it before you share it"));
  EXPECT_THAT(proposal, HasSubstr("{name: \"case\"}  # ? does it name a person or case?\n"));
  EXPECT_THAT(proposal, HasSubstr("values: [\"Miller\", \"Smith\"]}  # ? does it name a person or case?\n"));
  EXPECT_THAT(proposal, HasSubstr("{name: \"age\"}  # ? a few whole numbers"));
}

TEST(DescribeTable, EachColumnHasItsOwnDecimalMark) {
  std::string text = "date;crp;died\n";
  for (int i = 0; i < 40; ++i) {
    absl::StrAppend(&text, "0", 1 + i % 9, ".02;", i, ",5;", i % 2, "\n");
  }
  EXPECT_THAT(Described(text).value(), HasSubstr("    - {name: \"crp\"}\n"));
}

TEST(DescribeTable, AFewWordsAmongNumbersSayThatOneIsMissing) {
  std::string text = "a,b,y\n";
  for (int i = 0; i < 40; ++i) {
    absl::StrAppend(&text, i % 4 == 0 ? "k.A." : i == 3 ? "Smith" : absl::StrCat(i, ".5"), ",", i % 7, ",", i % 2, "\n");
  }
  const std::string proposal = Described(text).value();
  EXPECT_THAT(proposal, HasSubstr("csv: {missing: [\"k.A.\"]}"));
  EXPECT_THAT(proposal, HasSubstr("{name: \"a\", missing: flag}"));
  EXPECT_THAT(proposal, HasSubstr("words that are not named here"));
  EXPECT_THAT(proposal, Not(HasSubstr("Smith")));
}

TEST(DescribeTable, ANumberMayBeWhatIsPredicted) {
  const v1::RunSpec run = RunOf(Described(Patients(), "age").value());
  EXPECT_EQ(run.model().mlp().task(), v1::MlpSpec::VALUES);
  EXPECT_EQ(run.data().label().name(), "age");
}

TEST(DescribeTable, ALabelThatCannotBePredictedIsNamed) {
  EXPECT_THAT(Described(Patients(), "weight").status().message(), HasSubstr("no column 'weight' to predict"));
  EXPECT_THAT(Described(Patients(), "site").status().message(),
              HasSubstr("column 'site' cannot be predicted: 1 values have 5 rows or more"));
  EXPECT_EQ(ExitCodeOf(Described(Patients(), "name").status()), ExitCode::kData);
  EXPECT_EQ(ExitCodeOf(Described("").status()), ExitCode::kData);
  EXPECT_THAT(Described("a,\"b\nc\"\n1,0\n2,1\n").status().message(), HasSubstr("cannot be predicted: it has no name on one line"));
}

TEST(DescribeTable, FilesOfOtherColumnsAreRefused) {
  TestFolder folder;
  folder.Write("1.csv", Patients());
  folder.Write("2.csv", "id,weight\n1,2\n");
  EXPECT_THAT(DescribeTable({folder.File("1.csv"), folder.File("2.csv")}, {}, "").status().message(),
              HasSubstr("2.csv:1: column 'weight' is not in the first file"));
}

}  // namespace
}  // namespace tributary::worker
