// What a file of weights says of its run.
#include "proto/config/weights_sections.h"

#include <gmock/gmock.h>
#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>

#include "proto/config/yaml.h"

namespace tributary {
namespace {

using ::testing::HasSubstr;

v1::RunSpec TableRun() {
  v1::RunSpec run;
  const absl::Status status = ParseYaml(
      "name: r\nrounds: 1\noptimizer: {mode: distro, learning_rate: {peak: 0.01}}\nmodel: {mlp: {inputs: 2, outputs: 2}}\n"
      "data: {kind: csv, columns: [{name: a, mean: 1, deviation: 2}, {name: \"b\\u00fc\"}], label: {name: y, classes: [{name: x}, {name: "
      "z}]}}\n",
      "run.yaml", &run);
  EXPECT_TRUE(status.ok()) << status;
  return run;
}

TEST(WeightsSections, WhatIsWrittenIsReadAgain) {
  const v1::RunSpec run = TableRun();
  const absl::StatusOr<v1::RunSpec> read = RunOfWeights(WeightsSectionsOf(run));
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_TRUE(google::protobuf::util::MessageDifferencer::Equals(read->model(), run.model()));
  EXPECT_TRUE(google::protobuf::util::MessageDifferencer::Equals(read->data(), run.data()));
}

TEST(WeightsSections, TheyAreJsonWithTheKeysOfTheRun) {
  const auto sections = WeightsSectionsOf(TableRun());
  EXPECT_THAT(sections.at("tributary.data"), HasSubstr("\"columns\":[{\"name\":\"a\",\"kind\":\"NUMBER\""));
  EXPECT_THAT(sections.at("tributary.model"), HasSubstr("\"mlp\":{\"inputs\":2,"));
}

TEST(WeightsSections, AFileWithoutThemOrWithOthersIsRefused) {
  EXPECT_TRUE(absl::IsNotFound(RunOfWeights({}).status()));
  auto sections = WeightsSectionsOf(TableRun());
  sections["tributary.model"] = "{\"mlp\":{\"inputs\":7,\"outputs\":2}}";
  EXPECT_THAT(RunOfWeights(sections).status().message(), HasSubstr("data.columns give 2 inputs"));
  sections["tributary.model"] = "{\"mlp\":{\"inputs\":0,\"outputs\":2}}";
  EXPECT_THAT(RunOfWeights(sections).status().message(), HasSubstr("tributary.model: mlp.inputs"));
  sections["tributary.model"] = "{\"mlp\":";
  EXPECT_TRUE(absl::IsInvalidArgument(RunOfWeights(sections).status()));
  sections["tributary.model"] = "{\"of a later release\":{}}";
  EXPECT_TRUE(absl::IsInvalidArgument(RunOfWeights(sections).status()));
}

TEST(WeightsSections, ACustomModelHasNone) {
  v1::RunSpec run;
  run.mutable_model()->mutable_custom();
  EXPECT_TRUE(WeightsSectionsOf(run).empty());
}

}  // namespace
}  // namespace tributary
