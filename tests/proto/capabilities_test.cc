#include "proto/config/capabilities.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "proto/config/run_options.h"
#include "proto/config/yaml.h"

namespace tributary {
namespace {

using ::testing::ElementsAre;

using Told = google::protobuf::RepeatedPtrField<std::string>;

v1::RunSpec MakeRun(const std::string& optimizer, const std::string& more = "") {
  v1::RunSpec run;
  const absl::Status parsed = ParseYaml(absl::StrCat("name: toy\nrounds: 5\nmodel: {mlp: {inputs: 8, hidden: [16], outputs: 4}}\n"
                                                     "data: {kind: csv, label_column: label}\noptimizer: {learning_rate: {peak: 0.01}, ",
                                                     optimizer, "}\n", more),
                                        "run.yaml", &run);
  EXPECT_TRUE(parsed.ok()) << parsed;
  return run;
}

bool Includes(const Capabilities& all, const Capabilities& some) {
  return std::includes(all.begin(), all.end(), some.begin(), some.end());
}

TEST(Capabilities, ARunNeedsItsModeModelAndDataAndWhatItSwitchesOn) {
  EXPECT_THAT(RequiredCapabilities(MakeRun("mode: signsgd")), ElementsAre("data:csv", "mode:signsgd", "model:mlp"));
  EXPECT_THAT(RequiredCapabilities(MakeRun("mode: fedavg, weighting: samples", "pipeline: 1\n")),
              ElementsAre("data:csv", "mode:fedavg", "model:mlp", "pipeline", "weighting:samples"));
  EXPECT_THAT(RequiredCapabilities(MakeRun("mode: signsgd", "evaluation: {metrics: [f1]}\n")),
              ElementsAre("data:csv", "evaluation:metrics", "mode:signsgd", "model:mlp"));
  EXPECT_THAT(RequiredCapabilities(MakeRun("mode: local, local_steps: auto, local_time: 5s")),
              ElementsAre("data:csv", "local_steps:auto", "mode:local", "model:mlp"));
}

TEST(Capabilities, ATableWhoseColumnsAreNamedNeedsMoreThanOneOfNumbers) {
  v1::RunSpec run = MakeRun("mode: signsgd");
  run.mutable_data()->add_columns()->set_name("a");
  run.mutable_data()->set_standardise(v1::SITE);
  EXPECT_THAT(RequiredCapabilities(run), ElementsAre("data:columns", "data:csv", "mode:signsgd", "model:mlp"));
  run.mutable_data()->set_standardise(v1::NONE);
  run.mutable_model()->mutable_mlp()->set_task(v1::MlpSpec::VALUES);
  EXPECT_THAT(RequiredCapabilities(run),
              ElementsAre("data:columns", "data:csv", "mlp:values", "mode:signsgd", "model:mlp", "standardise:none"));
  EXPECT_TRUE(Includes(OwnCapabilities(), RequiredCapabilities(run)));
}

TEST(Capabilities, AReleaseThatDoesNotKnowAKeyIsNotSentItsDefault) {
  v1::RunSpec run = MakeRun("mode: signsgd");
  const std::string plain = run.SerializeAsString();
  run.mutable_data()->set_standardise(v1::SITE);
  run.mutable_model()->mutable_mlp()->set_task(v1::MlpSpec::CLASSES);
  EXPECT_EQ(WithoutNewDefaults(run).SerializeAsString(), plain);
  run.mutable_data()->set_standardise(v1::NONE);
  run.mutable_model()->mutable_mlp()->set_task(v1::MlpSpec::VALUES);
  EXPECT_EQ(WithoutNewDefaults(run).SerializeAsString(), run.SerializeAsString());
}

TEST(Capabilities, ThisProgramCanDoEveryRunThatItsConfigurationCanAskFor) {
  for (const char* optimizer : {"mode: allreduce", "mode: demo", "mode: distro", "mode: local", "mode: fedavg, weighting: samples",
                                "mode: diloco", "mode: signsgd", "mode: local, local_steps: auto, local_time: 5s"}) {
    EXPECT_TRUE(Includes(OwnCapabilities(), RequiredCapabilities(MakeRun(optimizer, "pipeline: 1\nevaluation: {metrics: [f1]}\n"))))
        << optimizer;
  }
}

TEST(Capabilities, WhatThisProgramTellsIsWithinWhatIsLookedAt) {
  Told told;
  for (const std::string& word : OwnCapabilities()) {
    *told.Add() = word;
  }
  EXPECT_EQ(CapabilitiesOf(told), OwnCapabilities());
}

TEST(Capabilities, APeerThatTellsNoneHasWhatTheReleaseHadThatToldNone) {
  const Capabilities untold = CapabilitiesOf({});
  EXPECT_EQ(untold.size(), 13u) << "it is history and does not change";
  EXPECT_TRUE(Includes(OwnCapabilities(), untold));
  EXPECT_TRUE(Includes(untold, RequiredCapabilities(MakeRun("mode: distro, weighting: samples", "pipeline: 1\n"))));
}

TEST(Capabilities, TooManyAndTooLongOnesAreNotLookedAt) {
  Told told;
  *told.Add() = std::string(kMaxCapabilityBytes, 'a');
  *told.Add() = std::string(kMaxCapabilityBytes + 1, 'b');
  for (int i = 0; i < 2 * kMaxCapabilities; ++i) {
    *told.Add() = absl::StrCat("word", i);
  }
  const Capabilities words = CapabilitiesOf(told);
  EXPECT_EQ(words.size(), kMaxCapabilities - 1u);
  EXPECT_TRUE(words.contains(std::string(kMaxCapabilityBytes, 'a')));
}

TEST(Capabilities, AModeThatOnlyANewerReleaseKnowsIsANeedThatNobodyHereMeets) {
  v1::RunSpec run = MakeRun("mode: distro");
  run.mutable_optimizer()->set_mode(static_cast<v1::OptimizerSpec::Mode>(99));
  EXPECT_TRUE(RequiredCapabilities(run).contains("mode:99"));
}

TEST(Capabilities, ARunThatSaysWhatThisReleaseDoesNotKnowIsRefused) {
  v1::RunSpec run = MakeRun("mode: distro");
  ASSERT_EQ(ValidateRunSpec(run), absl::OkStatus());
  run.mutable_optimizer()->GetReflection()->MutableUnknownFields(run.mutable_optimizer())->AddVarint(1000, 1);
  const absl::Status status = ValidateRunSpec(run);
  EXPECT_TRUE(absl::IsInvalidArgument(status));
  EXPECT_EQ(status.message(),
            absl::StrCat("optimizer: has field 1000, which this release (", TRIBUTARY_VERSION, ") does not know; upgrade it"));
}

}  // namespace
}  // namespace tributary
