// What a run may say of its tables.
#include "proto/config/table_rules.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "proto/config/run_options.h"
#include "proto/config/yaml.h"

namespace tributary {
namespace {

using ::testing::HasSubstr;

constexpr char kClasses[] = "label: {name: died, classes: [{name: \"no\", values: [\"0\"]}, {name: \"yes\", values: [\"1\"]}]}";

std::string Problem(absl::string_view mlp, absl::string_view data, absl::string_view more = "") {
  v1::RunSpec run;
  absl::Status status = ParseYaml(absl::StrCat("name: r\nrounds: 1\noptimizer: {mode: distro, learning_rate: {peak: 0.01}}\nmodel: {mlp: {",
                                               mlp, "}}\ndata: {kind: csv, ", data, "}\n", more),
                                  "run.yaml", &run);
  EXPECT_TRUE(status.ok()) << status;
  status = ValidateRunSpec(run);
  return std::string(status.message());
}

// Of one column beside `kClasses`.
std::string ColumnProblem(absl::string_view column, absl::string_view inputs = "1", absl::string_view more = "") {
  return Problem(absl::StrCat("inputs: ", inputs, ", outputs: 2"), absl::StrCat("columns: [{name: a, ", column, "}], ", more, kClasses));
}

TEST(TableRules, EveryKindOfColumnCountsItsInputs) {
  const std::string columns =
      "columns: [{name: a, unit: mm, min: 0, max: 9, mean: 1, deviation: 2}, {name: b, missing: flag}, {name: c, kind: category, values: "
      "[x, y]}, "
      "{name: d, kind: category, values: [x], other: true, missing: flag}], ";
  EXPECT_EQ(Problem("inputs: 8, outputs: 2", absl::StrCat(columns, kClasses)), "");
  EXPECT_EQ(Problem("inputs: 4, outputs: 2", absl::StrCat(columns, kClasses)),
            "model.mlp.inputs: 4, but data.columns give 8 inputs; set it to 8");
}

TEST(TableRules, TheLabelFitsTheModel) {
  const std::string columns = "columns: [{name: a}], ";
  EXPECT_EQ(Problem("inputs: 1, outputs: 3", absl::StrCat(columns, kClasses)),
            "model.mlp.outputs: 3, but data.label has 2 classes; set it to 2");
  EXPECT_EQ(Problem("inputs: 1, outputs: 1, task: values", absl::StrCat(columns, "label: {name: y, unit: d, mean: 3, deviation: 1}")), "");
  EXPECT_THAT(Problem("inputs: 1, outputs: 1, task: values", absl::StrCat(columns, kClasses)),
              HasSubstr("data.label.classes: model.mlp.task"));
  EXPECT_THAT(Problem("inputs: 1, outputs: 2", absl::StrCat(columns, "label: {name: y}")), HasSubstr("data.label.classes: is missing"));
  EXPECT_THAT(Problem("inputs: 1, outputs: 2", absl::StrCat(columns, "label: {name: y, unit: mm}")), HasSubstr("data.label.unit: is for"));
  EXPECT_THAT(Problem("inputs: 1, outputs: 1, task: values", absl::StrCat(columns, "label: {name: y, mean: 1}")),
              HasSubstr("data.label.deviation: is missing"));
  EXPECT_THAT(Problem("inputs: 1, outputs: 1, task: values", absl::StrCat(columns, "label: {name: y, missing: mean}")),
              HasSubstr("data.label.missing: a row without a label cannot be learned from; choose refuse or drop"));
  EXPECT_EQ(Problem("inputs: 1, outputs: 1, task: values", "label_column: y"), "") << "also without columns";
}

TEST(TableRules, KeysThatGoTogetherAreThereTogether) {
  EXPECT_THAT(Problem("inputs: 1, outputs: 2", "columns: [{name: a}]"), HasSubstr("data.label: is missing"));
  EXPECT_THAT(Problem("inputs: 1, outputs: 2", kClasses), HasSubstr("data.label: goes with data.columns"));
  EXPECT_THAT(Problem("inputs: 1, outputs: 2", absl::StrCat("label_column: y, columns: [{name: a}], ", kClasses)),
              HasSubstr("data.label_column: with data.columns, data.label says it"));
}

TEST(TableRules, NoNameIsThereTwice) {
  EXPECT_EQ(Problem("inputs: 2, outputs: 2", absl::StrCat("columns: [{name: a, aliases: [b]}, {name: b}], ", kClasses)),
            "data.columns[1].name: 'b' is already data.columns[0].aliases[0]");
  EXPECT_THAT(ColumnProblem("aliases: [died]"), HasSubstr("data.columns[0].aliases[0]: 'died' is already data.label.name"));
  EXPECT_THAT(ColumnProblem("kind: category, values: [x, x]", "2"),
              HasSubstr("data.columns[0].values[1]: 'x' is already data.columns[0].values[0]"));
  EXPECT_THAT(ColumnProblem("kind: category, values: [\"1\", \"01.0\"]", "2"),
              HasSubstr("data.columns[0].values[1]: '01.0' is already data.columns[0].values[0]"));
  EXPECT_THAT(Problem("inputs: 1, outputs: 2", "columns: [{name: a}], label: {name: y, classes: [{name: a, values: [b]}, {name: b}]}"),
              HasSubstr("data.label.classes[1].name: 'b' is already data.label.classes[0].values[0]"));
  EXPECT_THAT(ColumnProblem("aliases: [\" b\"]"), HasSubstr("begins or ends with a blank"));
}

TEST(TableRules, AKeyThatItsKindOfColumnIgnoresIsRefused) {
  EXPECT_THAT(ColumnProblem("values: [x]"), HasSubstr("data.columns[0].values: is for kind: category"));
  EXPECT_THAT(ColumnProblem("other: true"), HasSubstr("data.columns[0].other: is for kind: category"));
  for (const char* key : {"unit: mm", "mean: 1, deviation: 1", "min: 1", "max: 1"}) {
    EXPECT_THAT(ColumnProblem(absl::StrCat("kind: category, values: [x], ", key)), HasSubstr("is for kind: number"));
  }
}

TEST(TableRules, AColumnContradictsItselfNowhere) {
  EXPECT_THAT(ColumnProblem("kind: category"), HasSubstr("data.columns[0].values: is missing"));
  EXPECT_THAT(ColumnProblem("kind: category, values: [x], missing: mean"),
              HasSubstr("a category has no mean; choose refuse, drop or flag"));
  EXPECT_THAT(ColumnProblem("mean: 1"), HasSubstr("data.columns[0].deviation: is missing"));
  EXPECT_THAT(ColumnProblem("deviation: 1"), HasSubstr("data.columns[0].mean: is missing"));
  EXPECT_THAT(ColumnProblem("min: 2, max: 1"), HasSubstr("data.columns[0].min: 2 is more than max, 1"));
  EXPECT_THAT(ColumnProblem("missing: mean", "1", "standardise: none, "),
              HasSubstr("data.columns[0].mean: is missing; with standardise: none"));
}

TEST(TableRules, OtherKindsOfDataHaveNoneOfTheseKeys) {
  for (const char* key : {"columns: [{name: a}]", kClasses, "standardise: none"}) {
    v1::RunSpec run;
    ASSERT_TRUE(ParseYaml(absl::StrCat("name: r\nrounds: 1\noptimizer: {mode: distro, learning_rate: {peak: 0.01}}\nmodel: {gpt: {}}\n"
                                       "data: {kind: text, ",
                                       key, "}\n"),
                          "run.yaml", &run)
                    .ok());
    EXPECT_THAT(ValidateRunSpec(run).message(), HasSubstr("text has no columns; remove the key"));
  }
}

TEST(TableRules, WhatTravelsWithAModelIsBounded) {
  std::string columns = "columns: [";
  for (int i = 0; i < 2000; ++i) {
    absl::StrAppend(&columns, i > 0 ? ", " : "", "{name: a", i, ", unit: \"", std::string(100, 'u'), "\"}");
  }
  EXPECT_THAT(Problem("inputs: 2000, outputs: 2", absl::StrCat(columns, "], ", kClasses)), HasSubstr("at most 131072 travel with a model"));
}

}  // namespace
}  // namespace tributary
