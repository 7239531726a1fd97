// Tables whose columns the run names: each site's own exports give the same inputs, and what does not fit is refused or handled.
#include <limits>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/exit_codes.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/common/test_folder.h"
#include "worker/data/data_source.h"
#include "worker/data/table_rows.h"
#include "worker/refusal.h"

namespace tributary::worker {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// age with a scale, so that inputs are easy to see; sex; died.
TableOptions Clinic() {
  TableSchema schema;
  schema.columns = {{.name = "age", .unit = "years", .aliases = {"Alter"}, .scale = Scale{.mean = 50, .deviation = 10}},
                    {.name = "sex", .kind = TableColumn::Kind::kCategory, .values = {"f", "m"}}};
  schema.label = {.name = "died",
                  .aliases = {"verstorben"},
                  .classes = {{.name = "no", .values = {"0", "nein"}}, {.name = "yes", .values = {"1", "ja"}}}};
  TableOptions options;
  options.schema = schema;
  return options;
}

absl::StatusOr<std::unique_ptr<DataSource>> Read(absl::string_view text, const TableOptions& table) {
  TestFolder folder;
  folder.Write("t.csv", text);
  return MakeCsvSource({folder.path(), 0.5, 100, 100}, table);
}

// Of the rows for validation, which are every second one.
Batch BatchOf(absl::string_view text, const TableOptions& table = Clinic()) {
  const auto source = Read(text, table);
  EXPECT_TRUE(source.ok()) << source.status();
  return source.ok() ? (*source)->Validation(0) : Batch();
}

absl::Status ErrorOf(absl::string_view text, const TableOptions& table = Clinic()) {
  const absl::Status status = Read(text, table).status();
  EXPECT_EQ(ExitCodeOf(status), ExitCode::kData) << status;
  return status;
}

TEST(Columns, AreFoundByNameAliasOrTheSitesOwnNameWhereverTheyStand) {
  const std::string ours = "age,sex,died\n0,f,0\n60,m,1\n";
  EXPECT_THAT(BatchOf(ours).features, ElementsAre(1, 0, 1));
  EXPECT_THAT(BatchOf(ours).targets, ElementsAre(1));
  EXPECT_THAT(BatchOf("verstorben;id;sex;Alter\nnein;7;f;0\nja;8;m;60,0\n").features, ElementsAre(1, 0, 1));
  TableOptions renamed = Clinic();
  renamed.format.rename = {{.theirs = "Geschlecht", .ours = "sex"}, {.theirs = "of another run", .ours = "weight"}};
  EXPECT_THAT(BatchOf("Geschlecht,died,age\nf,0,0\nm,1,60\n", renamed).features, ElementsAre(1, 0, 1));
}

TEST(Columns, OneThatIsRenamedGoesByItsNewNameAlone) {
  TableOptions table = Clinic();
  table.schema->columns[1] = {.name = "weight", .scale = Scale{.mean = 0, .deviation = 1}};
  table.format.rename = {{.theirs = "age", .ours = "weight"}, {.theirs = "weight", .ours = "Alter"}};
  EXPECT_THAT(BatchOf("age,weight,died\n1,50,0\n7,60,1\n", table).features, ElementsAre(1, 7)) << "swapped, and by an alias";
  table.format.rename.pop_back();
  EXPECT_THAT(ErrorOf("age,died\n60,1\n", table).message(),
              AllOf(HasSubstr("no column 'age'"), HasSubstr("csv.rename in worker.yaml gives that one another name")));
  EXPECT_THAT(ErrorOf("age,Alter,weight,died\n60,60,7,1\n", table).message(),
              HasSubstr("columns 'age' and 'weight' are both 'weight' of the run"));
}

TEST(Columns, OneIsNeverTwoOfTheRuns) {
  TableOptions table = Clinic();
  table.format.rename = {{.theirs = "x", .ours = "died"}, {.theirs = "x", .ours = "age"}};
  EXPECT_THAT(ErrorOf("x,sex\n1,m\n", table).message(), HasSubstr("t.csv:1: column 'x' is both 'age' and 'died' of the run (csv.rename"));
}

TEST(Columns, BlanksInQuotesDoNotCount) {
  EXPECT_THAT(BatchOf("\" age \",\"sex\",died\n0,f,0\n\" 60\",\"m \",\" 1 \"\n").features, ElementsAre(1, 0, 1));
}

TEST(Columns, OthersAreNotToldWhichValueIsRefused) {
  TableOptions table = Clinic();
  table.schema->columns[0].min = 0;
  table.schema->columns[0].max = 120;
  table.format.rename = {{.theirs = "Alter in Jahren", .ours = "age"}, {.theirs = "Geschlecht", .ours = "sex"}};
  for (const char* row : {"-1,f,0", "600,f,0", ",f,0", "50,x,0", "50,,0", "50,f,maybe", "50,f,"}) {
    EXPECT_EQ(RefusalOf(ErrorOf(absl::StrCat("Alter in Jahren,Geschlecht,died\n", row, "\n"), table)),
              "a value that the run's data.columns or data.label refuse; the site's own log says which")
        << row;
  }
}

TEST(Columns, FilesOfOneSiteMayDiffer) {
  TestFolder folder;
  folder.Write("1.csv", "age,sex,died\n60,m,1\n60,m,1\n");
  folder.Write("2.csv", "died;extra;sex;age\n1;x;m;60\n1;y;m;60\n");
  const auto source = MakeCsvSource({folder.path(), 0.5, 100, 100}, Clinic());
  ASSERT_TRUE(source.ok()) << source.status();
  EXPECT_THAT((*source)->Validation(0).features, ElementsAre(1, 0, 1, 1, 0, 1));
  EXPECT_THAT((*source)->description().text, HasSubstr("2 columns besides the label; columns left out: extra"));
}

TEST(Columns, TheDigestIsOfWhatTheRunNames) {
  const auto digest = [](absl::string_view text) { return (*Read(text, Clinic()))->description().columns_digest; };
  EXPECT_EQ(digest("age,sex,died\n60,m,1\n60,m,1\n"), digest("died;id;sex;Alter\n1;x;m;60\n1;y;m;60\n"));
}

TEST(Columns, OneThatIsNotThereIsRefusedWithWhatToDo) {
  const absl::Status error = ErrorOf("Age,sex,died\n60,m,1\n");
  EXPECT_THAT(error.message(), HasSubstr("t.csv:1: no column 'age' (the run's data.columns); the columns are: Age, sex, died"));
  EXPECT_THAT(error.message(), HasSubstr("csv: {rename: [\"THEIRS=age\"]}"));
  EXPECT_EQ(RefusalOf(error), "no column 'age' (the run's data.columns)");
  EXPECT_EQ(RefusalOf(ErrorOf("age,sex\n60,m\n")), "no column 'died' (the run's data.label)");
}

TEST(Columns, OneThatIsThereTwiceIsRefused) {
  EXPECT_THAT(ErrorOf("age,Alter,sex,died\n").message(), HasSubstr("t.csv:1: columns 'age' and 'Alter' are both 'age' of the run"));
  EXPECT_THAT(BatchOf("age,x,x,sex,died\n0,1,2,f,0\n60,1,2,m,1\n").features, ElementsAre(1, 0, 1)) << "unless the run does not read it";
}

TEST(Columns, AnUnknownCategoryIsRefusedUnlessTheRunTakesOthers) {
  const std::string text = "age,sex,died\n50,f,0\n50,x,1\n";
  const absl::Status error = ErrorOf(text);
  EXPECT_THAT(error.message(), HasSubstr("t.csv:3: a value of column 'sex' that the run's data.columns does not name: column 'sex' holds "
                                         "'x'; the run has 'f', 'm'"));
  TableOptions others = Clinic();
  others.schema->columns[1].other = true;
  EXPECT_THAT(BatchOf(text, others).features, ElementsAre(0, 0, 0, 1));
}

TEST(Columns, ANumberIsTheSameCodeHoweverItIsWritten) {
  TableOptions coded = Clinic();
  coded.schema->columns[1].values = {"1", "2"};
  EXPECT_THAT(BatchOf("age,sex,died\n50,1,0\n50,2.0,1.0\n", coded).features, ElementsAre(0, 0, 1));
  coded.schema->columns[1].values = {"01", "02"};
  EXPECT_THAT(BatchOf("age,sex,died\n50,1,0\n50,2,1\n", coded).features, ElementsAre(0, 0, 1)) << "also the run";
  EXPECT_THAT(ErrorOf("age;sex;died\n50;2,000;0\n", coded).message(), HasSubstr("holds '2,000'")) << "two thousand?";
}

TEST(Columns, AMissingValueIsHandledAsTheRunSays) {
  const std::string text = "age,sex,died\n50,f,0\n60,f,0\n,,1\n70,m,1\nNA,m,1\n30,f,0\n";
  EXPECT_THAT(ErrorOf(text).message(), HasSubstr("t.csv:4: column 'age': an empty field, which the run refuses (data.columns: missing: "
                                                 "refuse)"));
  TableOptions table = Clinic();
  table.format.missing = {"NA"};
  TableColumn& age = table.schema->columns[0];
  TableColumn& sex = table.schema->columns[1];
  age.missing = sex.missing = MissingPolicy::kDrop;
  EXPECT_THAT(BatchOf(text, table).features, ElementsAre(1, 1, 0, -2, 1, 0));
  const auto source = Read(text, table);
  ASSERT_EQ((*source)->Table()->rows_left_out.size(), 1u);
  EXPECT_EQ((*source)->Table()->rows_left_out[0].what, "no value in column 'age'");
  EXPECT_EQ((*source)->Table()->rows_left_out[0].rows, 2u);
  age.missing = MissingPolicy::kMean;
  sex.missing = MissingPolicy::kFlag;
  EXPECT_THAT(BatchOf(text, table).features, ElementsAre(1, 1, 0, 0, /**/ 2, 0, 1, 0, /**/ -2, 1, 0, 0));
  age.missing = MissingPolicy::kFlag;
  EXPECT_THAT(BatchOf("age,sex,died\n50,f,0\n,,1\n", table).features, ElementsAre(0, 1, 0, 0, 1));
}

TEST(Columns, ACodeForMissingIsTheSameHoweverItIsWritten) {
  TableOptions table = Clinic();
  table.format.missing = {"-9"};
  table.schema->columns[0].missing = MissingPolicy::kMean;
  EXPECT_THAT(BatchOf("age;sex;died\n50;f;0\n-9,00;m;1\n", table).features, ElementsAre(0, 0, 1));
}

TEST(Columns, ARowThatIsDroppedMayHoldAnything) {
  TableOptions table = Clinic();
  table.schema->label.missing = MissingPolicy::kDrop;
  table.schema->columns[1].missing = MissingPolicy::kDrop;
  EXPECT_THAT(BatchOf("age,sex,died\n50,f,0\nold,,1\nold,x,\n60,m,1\n", table).features, ElementsAre(1, 0, 1));
}

TEST(Columns, ASiteWithoutSuchValuesAddsAnEmptyColumn) {
  TableOptions table = Clinic();
  table.schema->columns[0].missing = MissingPolicy::kFlag;
  table.schema->columns[0].scale.reset();
  EXPECT_THAT(ErrorOf("sex,died\nf,0\nf,1\n", table).message(), HasSubstr("if it has no such values, add an empty column of that name"));
  EXPECT_THAT(BatchOf("age,sex,died\n,f,0\n,f,1\n", table).features, ElementsAre(0, 1, 1, 0));
}

TEST(Columns, ALabelThatIsUnknownOrMissingIsRefusedOrItsRowLeftOut) {
  EXPECT_THAT(
      ErrorOf("age,sex,died\n50,f,maybe\n").message(),
      HasSubstr(
          "t.csv:2: a label that the run's data.label does not name: column 'died' holds 'maybe'; the run has '0', '1', 'ja', 'nein'"));
  const std::string text = "age,sex,died\n50,f,0\n50,f,\n70,m,1\n";
  EXPECT_THAT(ErrorOf(text).message(), HasSubstr("t.csv:3: column 'died': an empty field, which the run refuses (data.label: missing"));
  TableOptions table = Clinic();
  table.schema->label.missing = MissingPolicy::kDrop;
  EXPECT_THAT(BatchOf(text, table).targets, ElementsAre(1));
}

TEST(Columns, AValueOutOfItsBoundsIsRefused) {
  TableOptions table = Clinic();
  table.schema->columns[0].min = 0;
  table.schema->columns[0].max = 120;
  const absl::Status error = ErrorOf("age,sex,died\n50,f,0\n600,m,1\n", table);
  EXPECT_THAT(error.message(), HasSubstr("t.csv:3: a value of column 'age' above the run's max, 120 'years' (data.columns): column 'age' "
                                         "holds '600': if it is in another unit"));
  EXPECT_THAT(ErrorOf("age,sex,died\n-1,f,0\n", table).message(), HasSubstr("below the run's min, 0"));
}

TEST(Columns, AFileHasDecimalPointsOrDecimalCommas) {
  EXPECT_THAT(BatchOf("age;sex;died\n50,5;f;0\n60;m;1\n").features, ElementsAre(1, 0, 1));
  EXPECT_THAT(ErrorOf("age;sex;died\n50,5;f;0\n60.5;m;1\n").message(),
              HasSubstr("t.csv:3: column 'age': '60.5' has a decimal point, and line 2 of this file has decimal commas"));
  EXPECT_THAT(ErrorOf("age,sex,died\n\"50,5\",f,0\n").message(), HasSubstr("say csv: {decimal: comma} in worker.yaml"));
  EXPECT_THAT(ErrorOf("age;sex;died\n1.050,5;f;0\n").message(), HasSubstr("separators of thousands are not read"));
  TableOptions table = Clinic();
  table.format.decimal = ',';
  EXPECT_THAT(BatchOf("age,sex,died\n\"50,5\",f,0\n\"55,0\",m,1\n", table).features, ElementsAre(0.5, 0, 1));
  EXPECT_THAT(ErrorOf("age;sex;died\n50.5;f;0\n", table).message(), HasSubstr("csv.decimal in worker.yaml says decimal commas"));
}

TEST(Columns, WhatIsNotUtf8MustBeNamed) {
  const std::string text =
      "age,sex,died,Gr\xf6\xdf"
      "e\n50,f,0,1\n60,m,1,2\n";
  EXPECT_THAT(ErrorOf(text).message(), HasSubstr("t.csv: byte 15 is not UTF-8: say what the file is with csv: {encoding: windows-1252}"));
  TableOptions table = Clinic();
  table.format.encoding = Encoding::kWindows1252;
  EXPECT_THAT((*Read(text, table))->Table()->files[0].left_out, ElementsAre("Gr\xc3\xb6\xc3\x9f"
                                                                            "e"));
}

TEST(Columns, ClassesWeighInTheLossAsTheRunSays) {
  const std::string text = "age,sex,died\n50,f,0\n50,f,0\n70,m,1\n70,m,1\n";
  EXPECT_THAT(BatchOf(text).weights, ElementsAre()) << "all the same";
  TableOptions table = Clinic();
  table.schema->label.classes[1].weight = 3;
  EXPECT_THAT(BatchOf(text, table).weights, ElementsAre(1, 3));
}

TEST(Columns, NumbersAreStandardisedByTheRunTheSiteOrNotAtAll) {
  TableOptions table = Clinic();
  table.schema->columns.pop_back();
  table.schema->columns[0].scale.reset();
  // Trained on: 10 and 30, whose mean is 20 and deviation 10.
  const std::string text = "age,died\n10,0\n40,0\n30,1\n20,1\n";
  EXPECT_THAT(BatchOf(text, table).features, ElementsAre(2, 0));
  EXPECT_EQ(StatedStatistics(*table.schema), std::nullopt) << "they are the site's";
  table.schema->standardise = Standardise::kNone;
  EXPECT_THAT(BatchOf(text, table).features, ElementsAre(40, 20));
  EXPECT_TRUE(StatedStatistics(*table.schema).has_value());
  table.schema->columns[0].scale = Scale{.mean = 0, .deviation = 4};
  EXPECT_THAT(BatchOf(text, table).features, ElementsAre(10, 5));
}

TEST(Columns, ANumberIsPredictedInTheScaleOfTheRunOrTheSite) {
  TableOptions table = Clinic();
  table.schema->columns.pop_back();
  table.schema->label = {.name = "days"};
  const std::string text = "age,days\n50,10\n50,40\n50,30\n50,20\n";
  EXPECT_THAT(BatchOf(text, table).values, ElementsAre(2, 0));
  EXPECT_THAT(BatchOf(text, table).targets, ElementsAre());
  table.schema->label.scale = Scale{.mean = 0, .deviation = 10};
  EXPECT_THAT(BatchOf(text, table).values, ElementsAre(4, 2));
}

TEST(Columns, AllProblemsAreToldToWhoAsks) {
  TableOptions table = Clinic();
  std::vector<std::string> problems;
  table.problems = &problems;
  const absl::Status first = ErrorOf("age,sex,died\n50,f,0\nold,f,1\n50,x,1\n50,f,\n", table);
  EXPECT_THAT(first.message(), HasSubstr("t.csv:3: column 'age'"));
  EXPECT_THAT(problems, ElementsAre(HasSubstr("t.csv:3: "), HasSubstr("t.csv:4: "), HasSubstr("t.csv:5: ")));
  problems.clear();
  std::string text = "age,sex,died\n";
  for (int i = 0; i < 30; ++i) {
    text += "old,f,1\n";
  }
  EXPECT_THAT(ErrorOf(text, table).message(), HasSubstr("t.csv:2: "));
  EXPECT_EQ(problems.size(), kMaxProblems);
}

TEST(Columns, TheReportSaysWhatTheModelSees) {
  const auto source = Read("id;age;sex;died\n1;50;f;0\n2;60;m;1\n3;55,5;m;1\n4;40;m;0\n", Clinic());
  ASSERT_TRUE(source.ok()) << source.status();
  const std::string text = TableReportText(*(*source)->Table());
  EXPECT_THAT(text, HasSubstr("t.csv: 4 rows; utf-8, separated by semicolon, decimal comma; columns left out: id\n"));
  EXPECT_THAT(text, HasSubstr("what the model sees: 3 inputs; 2 rows to train on, 2 for validation\n"));
  EXPECT_THAT(text, HasSubstr("  age (years): mean 50, deviation 10, from 40 to 60\n"));
  EXPECT_THAT(text, HasSubstr("  sex: m 3, f 1\n"));
  EXPECT_THAT(text, HasSubstr("  died: no 2, yes 2\n"));
}

}  // namespace
}  // namespace tributary::worker
