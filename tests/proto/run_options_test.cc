#include "proto/config/run_options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "optim/data_kind.h"
#include "optim/layout.h"
#include "optim/model_spec.h"
#include "optim/modes.h"
#include "proto/config/yaml.h"

namespace tributary {
namespace {

using ::testing::HasSubstr;

v1::RunSpec MakeRun(absl::string_view optimizer, absl::string_view more = "") {
  v1::RunSpec run;
  const std::string text = absl::StrCat(
      "name: r\nrounds: 10\nmodel: {gpt: {}}\ndata: {kind: text}\noptimizer: {learning_rate: {peak: 1e-3}, ", optimizer, "}\n", more);
  const absl::Status status = ParseYaml(text, "run.yaml", &run);
  EXPECT_TRUE(status.ok()) << status;
  return run;
}

std::string Problem(const v1::RunSpec& run) {
  const absl::Status status = ValidateRunSpec(run);
  EXPECT_NE(status.code(), absl::StatusCode::kOk);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  return std::string(status.message());
}

TEST(RunOptionsTest, EveryModeIsValidWithItsDefaults) {
  for (const optim::ModeTraits& mode : optim::kModes) {
    const v1::RunSpec run = MakeRun(absl::StrCat("mode: ", mode.name));
    EXPECT_EQ(ValidateRunSpec(run), absl::OkStatus()) << mode.name;
    EXPECT_EQ(OptimizerOptionsOf(run)->mode, mode.mode);
    EXPECT_EQ(absl::AsciiStrToLower(v1::OptimizerSpec::Mode_Name(run.optimizer().mode())), mode.name);
  }
}

TEST(RunOptionsTest, WhatIsInForceSaysWhatTheRunLeavesOut) {
  const v1::OptimizerSpec distro = OptimizerInForce(MakeRun("mode: distro")).value();
  EXPECT_EQ(distro.k(), 32U);
  EXPECT_EQ(distro.commit_k(), 32U);
  EXPECT_EQ(distro.value_bits(), 1U);
  EXPECT_EQ(distro.domain(), v1::OptimizerSpec::DCT);
  EXPECT_EQ(distro.beta(), 0.999) << "as a person would write it";
  EXPECT_TRUE(distro.normalize());
  EXPECT_EQ(distro.weight_decay(), 0);
  EXPECT_EQ(distro.local_steps(), 1U);
  EXPECT_EQ(distro.weighting(), v1::UNIFORM);
  EXPECT_FALSE(distro.has_outer_learning_rate());
  const v1::OptimizerSpec diloco = OptimizerInForce(MakeRun("mode: diloco, local_steps: 7")).value();
  EXPECT_EQ(diloco.local_steps(), 7U);
  EXPECT_EQ(diloco.outer_learning_rate(), 0.7);
  EXPECT_EQ(diloco.outer_momentum(), 0.9);
  EXPECT_FALSE(diloco.has_k());
  EXPECT_EQ(OptimizerInForce(MakeRun("mode: allreduce"))->weight_decay(), 0.1);
  EXPECT_EQ(OptimizerInForce(MakeRun("mode: distro, k: 5"))->commit_k(), 5U);
}

TEST(RunOptionsTest, WhatIsInForceSaysWhatABudgetHasChosen) {
  const v1::RunSpec run = MakeRun("mode: local, budget: 20KiB");
  const optim::OptimizerOptions options = OptimizerOptionsOf(run).value();
  const v1::OptimizerSpec in_force = OptimizerInForce(run).value();
  EXPECT_EQ(in_force.budget(), 20480U);
  EXPECT_EQ(in_force.k(), options.k);
  EXPECT_EQ(in_force.local_steps(), options.local_steps);
  EXPECT_GT(in_force.local_steps(), 1U);
}

TEST(RunOptionsTest, WhatIsInForceIsInForceInEveryMode) {
  for (const optim::ModeTraits& mode : optim::kModes) {
    v1::RunSpec run = MakeRun(absl::StrCat("mode: ", mode.name));
    const optim::OptimizerOptions options = OptimizerOptionsOf(run).value();
    *run.mutable_optimizer() = OptimizerInForce(run).value();
    EXPECT_EQ(ValidateRunSpec(run), absl::OkStatus()) << mode.name;
    const optim::OptimizerOptions again = OptimizerOptionsOf(run).value();
    EXPECT_EQ(again.beta, options.beta) << mode.name;
    EXPECT_EQ(again.k, options.k) << mode.name;
    if (mode.keys.Has(optim::Key::kCommitK)) {
      EXPECT_EQ(again.commit_k, options.commit_k) << mode.name;
    }
    EXPECT_EQ(again.value_bits, options.value_bits) << mode.name;
    EXPECT_EQ(again.domain, options.domain) << mode.name;
    EXPECT_EQ(again.weight_decay, options.weight_decay) << mode.name;
    EXPECT_EQ(again.outer_learning_rate, options.outer_learning_rate) << mode.name;
    EXPECT_EQ(optim::ParametersForRound(again, 1).local_steps, optim::ParametersForRound(options, 1).local_steps) << mode.name;
  }
}

TEST(RunOptionsTest, KindsOfDataAreNamedAsInTheProtocol) {
  for (const optim::DataTraits& kind : optim::kDataKinds) {
    v1::DataSpec data;
    v1::DataSpec::Kind number = v1::DataSpec::KIND_UNSPECIFIED;
    ASSERT_TRUE(v1::DataSpec::Kind_Parse(absl::AsciiStrToUpper(kind.name), &number)) << kind.name;
    data.set_kind(number);
    EXPECT_EQ(*DataKindOf(data), kind.kind);
  }
  EXPECT_FALSE(DataKindOf(v1::DataSpec()).ok());
}

TEST(RunOptionsTest, KindsOfModelsAreTheKeysOfRunYaml) {
  EXPECT_EQ(ModelKinds(), (std::vector<std::string>{"gpt", "mlp", "custom", "llama", "convnet", "ddpm"}));
  EXPECT_EQ(ModelKindOf(MakeRun("mode: distro").model()), "gpt");
  EXPECT_EQ(ModelKindOf(v1::ModelSpec()), "unknown");
}

TEST(RunOptionsTest, WhatTheRunLeavesOutIsTheModesDefault) {
  const auto options = OptimizerOptionsOf(MakeRun("mode: local")).value();
  const auto defaults = optim::Defaults(optim::Mode::kLocal);
  EXPECT_EQ(options.beta, defaults.beta);
  EXPECT_EQ(options.k, defaults.k);
  EXPECT_EQ(options.value_bits, defaults.value_bits);
  EXPECT_EQ(options.domain, defaults.domain);
  EXPECT_EQ(options.commit_k, defaults.commit_k);
  EXPECT_EQ(options.outer_learning_rate, defaults.outer_learning_rate);
}

TEST(RunOptionsTest, WhatTheRunSaysIsTaken) {
  const auto options =
      OptimizerOptionsOf(
          MakeRun("mode: local, local_steps: 7, beta: 0.5, k: 9, value_bits: 4, domain: dct, commit_k: 0, outer_learning_rate: 0.25, "
                  "clip_norm: 0, weight_decay: 0.1, adam_beta1: 0.8"))
          .value();
  EXPECT_EQ(options.rounds, 10u);
  EXPECT_EQ(options.learning_rate.peak, 1e-3);
  EXPECT_EQ(options.local_steps, 7u);
  EXPECT_EQ(options.beta, 0.5f);
  EXPECT_EQ(options.k, 9u);
  EXPECT_EQ(options.value_bits, 4u);
  EXPECT_EQ(options.domain, optim::Domain::kDct);
  EXPECT_EQ(options.commit_k, 0u);
  EXPECT_EQ(options.outer_learning_rate, 0.25f);
  EXPECT_EQ(options.clip_norm, 0.0f);
  EXPECT_EQ(options.weight_decay, 0.1f);
  EXPECT_EQ(options.adam.beta1, 0.8f);
}

TEST(RunOptionsTest, OnlyAllReduceDecaysWeightsThatTheRunDoesNotSpeakOf) {
  EXPECT_EQ(OptimizerOptionsOf(MakeRun("mode: allreduce"))->weight_decay, 0.1f);
  EXPECT_EQ(OptimizerOptionsOf(MakeRun("mode: allreduce, weight_decay: 0"))->weight_decay, 0.0f);
  for (const char* mode : {"demo", "distro", "local", "fedavg", "diloco", "signsgd"}) {
    EXPECT_EQ(OptimizerOptionsOf(MakeRun(absl::StrCat("mode: ", mode)))->weight_decay, 0.0f) << mode;
  }
}

TEST(RunOptionsTest, TheCommitKeepsAsManyComponentsAsAnUpdate) {
  EXPECT_EQ(OptimizerOptionsOf(MakeRun("mode: distro, k: 5"))->commit_k, 5u);
  EXPECT_EQ(OptimizerOptionsOf(MakeRun("mode: distro, k: 5, commit_k: 6"))->commit_k, 6u);
}

TEST(RunOptionsTest, AKeyThatTheModeDoesNotHaveIsRefused) {
  EXPECT_EQ(Problem(MakeRun("mode: distro, local_steps: 2")),
            "optimizer.local_steps: mode distro has no local_steps (only local, fedavg, diloco); remove the key or change the mode");
  EXPECT_EQ(Problem(MakeRun("mode: demo, value_bits: 2")),
            "optimizer.value_bits: mode demo has no value_bits (only distro, local); remove the key or change the mode");
  EXPECT_EQ(Problem(MakeRun("mode: allreduce, k: 2")),
            "optimizer.k: mode allreduce has no k (only demo, distro, local); remove the key or change the mode");
}

TEST(RunOptionsTest, SitesCountTheirStepsByTime) {
  const v1::RunSpec run = MakeRun("mode: fedavg, local_steps: auto, local_time: 90s");
  EXPECT_EQ(ValidateRunSpec(run), absl::OkStatus());
  EXPECT_EQ(run.optimizer().local_steps(), 0u);
  const auto options = OptimizerOptionsOf(run).value();
  EXPECT_EQ(options.local_time, absl::Seconds(90));
  EXPECT_EQ(options.local_steps, optim::kLeastTimedSteps);
  EXPECT_FALSE(optim::StepsAreTimed(*OptimizerOptionsOf(MakeRun("mode: fedavg, local_steps: 7"))));
  const v1::OptimizerSpec in_force = OptimizerInForce(run).value();
  EXPECT_EQ(in_force.local_steps(), 0u);
  EXPECT_EQ(in_force.local_time().seconds(), 90);
}

TEST(RunOptionsTest, TimeForLocalStepsGoesWithAutoAndFitsIntoARound) {
  EXPECT_EQ(Problem(MakeRun("mode: fedavg, local_steps: auto")),
            "optimizer.local_time: is missing; with local_steps: auto it says how long a site takes local steps in a round: 30s");
  EXPECT_EQ(Problem(MakeRun("mode: fedavg, local_steps: 4, local_time: 5s")),
            "optimizer.local_time: is read with local_steps: auto alone; remove the key, or set that");
  EXPECT_EQ(Problem(MakeRun("mode: fedavg, local_steps: auto, local_time: 2m")),
            "optimizer.local_time: 2m leaves no time to send an update: participation.max_deadline is 2m; lengthen that");
  EXPECT_EQ(Problem(MakeRun("mode: distro, local_steps: auto, local_time: 5s")),
            "optimizer.local_steps: mode distro has no local_steps (only local, fedavg, diloco); remove the key or change the mode");
  EXPECT_EQ(Problem(MakeRun("mode: local, budget: 20KiB, local_steps: auto, local_time: 5s")),
            "optimizer.budget: chooses k, commit_k and local_steps itself; remove it, or optimizer.local_steps");
}

TEST(RunOptionsTest, ABoundBelowTheMedianNormIsRefused) {
  EXPECT_EQ(Problem(MakeRun("mode: fedavg, norm_bound: 0.5")),
            "optimizer: norm_bound is 0.5; allowed: 0 (no bound), or 1 to 1e6 times the median norm");
  EXPECT_EQ(OptimizerOptionsOf(MakeRun("mode: fedavg, norm_bound: 1"))->norm_bound, 1.0f);
}

TEST(RunOptionsTest, AgreementIsForModesOfEqualVotes) {
  EXPECT_EQ(OptimizerOptionsOf(MakeRun("mode: signsgd, aggregation: agreement"))->aggregation, optim::Aggregation::kAgreement);
  EXPECT_EQ(Problem(MakeRun("mode: fedavg, aggregation: agreement")).substr(0, 54),
            "optimizer: aggregation agreement in mode fedavg: it is");
}

TEST(RunOptionsTest, WeightingBySamplesIsForSomeModes) {
  EXPECT_EQ(OptimizerOptionsOf(MakeRun("mode: distro"))->weighting, optim::Weighting::kUniform);
  for (const char* mode : {"distro", "local", "fedavg", "diloco"}) {
    EXPECT_EQ(OptimizerOptionsOf(MakeRun(absl::StrCat("mode: ", mode, ", weighting: samples")))->weighting, optim::Weighting::kSamples);
  }
  EXPECT_EQ(Problem(MakeRun("mode: demo, weighting: samples")),
            "optimizer.weighting: mode demo has no weighting (only distro, local, fedavg, diloco); remove the key or change the mode");
}

TEST(RunOptionsTest, ABudgetChoosesKAndLocalSteps) {
  const auto distro = OptimizerOptionsOf(MakeRun("mode: distro, budget: 20KiB")).value();
  EXPECT_GT(distro.k, 32u);
  EXPECT_EQ(distro.commit_k, distro.k);
  const auto smaller = OptimizerOptionsOf(MakeRun("mode: distro, budget: 20KiB, value_bits: 8")).value();
  EXPECT_LT(smaller.k, distro.k) << "what the run says of values holds";
  EXPECT_GT(OptimizerOptionsOf(MakeRun("mode: local, budget: 2KiB"))->local_steps, 2u);
  EXPECT_GT(OptimizerOptionsOf(MakeRun("mode: diloco, budget: 100KiB"))->local_steps, 30u);
  EXPECT_EQ(OptimizerOptionsOf(MakeRun("mode: distro, k: 5, budget: 0B"))->k, 5u) << "no budget";
}

TEST(RunOptionsTest, ABudgetAndWhatItChoosesContradictEachOther) {
  for (const char* chosen : {"k", "commit_k", "local_steps"}) {
    EXPECT_EQ(Problem(MakeRun(absl::StrCat("mode: local, budget: 20KiB, ", chosen, ": 2"))),
              absl::StrCat("optimizer.budget: chooses k, commit_k and local_steps itself; remove it, or optimizer.", chosen));
  }
}

TEST(RunOptionsTest, ABudgetThatTheModeCannotMeetIsRefused) {
  EXPECT_EQ(Problem(MakeRun("mode: distro, budget: 10B")).substr(0, 70),
            "optimizer.budget: mode distro cannot train this model with 10 bytes a ");
  EXPECT_EQ(Problem(MakeRun("mode: allreduce, budget: 10KiB")).substr(0, 70),
            "optimizer.budget: mode allreduce leaves nothing for a budget to choose");
}

TEST(RunOptionsTest, ValueBitsAreAPowerOfTwo) {
  EXPECT_EQ(Problem(MakeRun("mode: distro, value_bits: 3")), "optimizer.value_bits: 3 is not 1, 2, 4 or 8");
}

TEST(RunOptionsTest, WarmUpEndsWithinTheRun) {
  v1::RunSpec run = MakeRun("mode: distro");
  run.mutable_optimizer()->mutable_learning_rate()->set_warmup_rounds(11);
  EXPECT_EQ(Problem(run), "optimizer.learning_rate.warmup_rounds: 11 is more than rounds, 10");
}

TEST(RunOptionsTest, BoundsOfParticipationAreInOrder) {
  EXPECT_EQ(Problem(MakeRun("mode: distro", "participation: {min_workers: 5, max_workers: 4}\n")),
            "participation.min_workers: 5 is more than max_workers, 4");
  EXPECT_EQ(Problem(MakeRun("mode: distro", "participation: {min_deadline: 3m}\n")),
            "participation.min_deadline: 3m is more than max_deadline, 2m");
}

TEST(RunOptionsTest, ModelAndDataFit) {
  v1::RunSpec run = MakeRun("mode: distro");
  run.mutable_data()->set_kind(v1::DataSpec::CSV);
  EXPECT_EQ(Problem(run), "data.kind: model gpt needs kind text");
  run = MakeRun("mode: distro");
  run.mutable_data()->set_label_column("y");
  EXPECT_EQ(Problem(run), "data.label_column: text has no columns; remove the key");
  run = MakeRun("mode: distro");
  run.mutable_model()->mutable_mlp()->set_inputs(4);
  run.mutable_model()->mutable_mlp()->set_outputs(2);
  EXPECT_EQ(Problem(run), "data.kind: model mlp needs kind csv");
  run.mutable_data()->set_kind(v1::DataSpec::CSV);
  EXPECT_EQ(Problem(run), "data.label_column: is missing; csv data needs the name of its label column (or data.columns and data.label)");
  run.mutable_data()->set_label_column("y");
  EXPECT_EQ(ValidateRunSpec(run), absl::OkStatus());
}

v1::RunSpec MakeLlamaRun(absl::string_view data, absl::string_view more = "") {
  v1::RunSpec run;
  const std::string text = absl::StrCat(
      "name: r\nrounds: 10\nmodel: {llama: {vocab_size: 256, hidden_size: 48, intermediate_size: 96, num_hidden_layers: 2, "
      "num_attention_heads: 6, context: 32",
      more, "}}\ndata: ", data, "\noptimizer: {learning_rate: {peak: 1e-3}, mode: distro}\n");
  EXPECT_EQ(ParseYaml(text, "run.yaml", &run), absl::OkStatus());
  return run;
}

TEST(RunOptionsTest, ALlamaTakesWhatIsAbsentAsHuggingFaceDoes) {
  const optim::LlamaModel plain = std::get<optim::LlamaModel>(ModelSpecOf(MakeLlamaRun("{kind: tokens}")).value());
  EXPECT_EQ(plain.num_key_value_heads, 6);
  EXPECT_EQ(plain.head_dim, 8);
  EXPECT_EQ(plain.rms_norm_eps, 1e-6);
  EXPECT_EQ(plain.rope_theta, 10000);
  EXPECT_EQ(plain.head, optim::LlamaModel::Head::kOwn);
  const optim::LlamaModel said = std::get<optim::LlamaModel>(
      ModelSpecOf(MakeLlamaRun("{kind: tokens}", ", num_key_value_heads: 2, head_dim: 10, tie_word_embeddings: true")).value());
  EXPECT_EQ(said.num_key_value_heads, 2);
  EXPECT_EQ(said.head_dim, 10);
  EXPECT_EQ(said.head, optim::LlamaModel::Head::kTied);
  v1::RunSpec run = MakeLlamaRun("{kind: tokens}");
  run.mutable_model()->mutable_llama()->set_hidden_size(50);
  EXPECT_EQ(Problem(run), "model.llama.hidden_size: 50 is not a multiple of num_attention_heads, which is 6; or say head_dim");
}

TEST(RunOptionsTest, ALlamaThatKnows256TokensLearnsFromTextToo) {
  EXPECT_EQ(ValidateRunSpec(MakeLlamaRun("{kind: text}")), absl::OkStatus());
  EXPECT_EQ(ValidateRunSpec(MakeLlamaRun("{kind: tokens}")), absl::OkStatus());
  v1::RunSpec run = MakeLlamaRun("{kind: text}");
  run.mutable_model()->mutable_llama()->set_vocab_size(300);
  EXPECT_EQ(Problem(run), "data.kind: model llama needs kind tokens");
}

TEST(RunOptionsTest, TokensHaveTwoBytesOrFour) {
  EXPECT_EQ(ValidateRunSpec(MakeLlamaRun("{kind: tokens, token_bytes: 4}")), absl::OkStatus());
  EXPECT_EQ(Problem(MakeLlamaRun("{kind: tokens, token_bytes: 3}")), "data.token_bytes: 3 is not 2 or 4");
  EXPECT_EQ(Problem(MakeLlamaRun("{kind: text, token_bytes: 2}")), "data.token_bytes: text has none; remove the key");
  v1::RunSpec run = MakeLlamaRun("{kind: tokens}");
  run.mutable_model()->mutable_llama()->set_vocab_size(128256);
  EXPECT_THAT(Problem(run), HasSubstr("data.token_bytes: numbers of 2 bytes stay below 65536, and the model's vocab_size is 128256"));
  run.mutable_data()->set_token_bytes(4);
  EXPECT_EQ(ValidateRunSpec(run), absl::OkStatus());
}

TEST(RunOptionsTest, ClassesOfImagesAreAsManyAsTheModelsOutputsAndFitToNameFolders) {
  v1::RunSpec run = MakeRun("mode: distro");
  v1::ConvNetSpec& convnet = *run.mutable_model()->mutable_convnet();
  convnet.set_height(8);
  convnet.set_width(8);
  convnet.set_channels(1);
  convnet.add_stages(4);
  convnet.set_outputs(2);
  EXPECT_EQ(Problem(run), "data.kind: model convnet needs kind images");
  run.mutable_data()->set_kind(v1::DataSpec::IMAGES);
  EXPECT_EQ(ValidateRunSpec(run), absl::OkStatus());
  run.mutable_data()->add_classes("cat");
  EXPECT_EQ(Problem(run), "data.classes: names 1, and the model has 2 outputs");
  run.mutable_data()->add_classes("cat");
  EXPECT_EQ(Problem(run), "data.classes[1]: 'cat' appears twice");
  for (const char* const name : {"", "..", "a/b", ".hidden"}) {
    run.mutable_data()->set_classes(1, name);
    EXPECT_THAT(Problem(run), HasSubstr("data.classes[1]")) << name;
  }
  run.mutable_data()->set_classes(1, "dog");
  EXPECT_EQ(ValidateRunSpec(run), absl::OkStatus());
  v1::DdpmSpec& ddpm = *run.mutable_model()->mutable_ddpm();
  ddpm.set_size(8);
  ddpm.set_channels(2);
  ddpm.add_stages(4);
  ddpm.set_steps(10);
  EXPECT_EQ(Problem(run), "model: ddpm.channels is 2; images have 1 (grey) or 3 (red, green, blue)");
  ddpm.set_channels(3);
  EXPECT_EQ(Problem(run), "data.classes: only a model that tells classes of images apart reads it; remove the key");
  run.mutable_data()->clear_classes();
  EXPECT_EQ(ValidateRunSpec(run), absl::OkStatus());
}

TEST(RunOptionsTest, AModelThatCannotBeLaidOutIsRefused) {
  v1::RunSpec run = MakeRun("mode: distro");
  run.mutable_model()->mutable_gpt()->set_heads(3);
  EXPECT_EQ(Problem(run).substr(0, 7), "model: ");
  run.mutable_model()->mutable_mlp()->set_inputs(4);
  run.mutable_model()->mutable_mlp()->set_outputs(2);
  run.mutable_model()->mutable_mlp()->add_hidden(0);
  EXPECT_EQ(Problem(run), "model.mlp.hidden[0]: 0 is not between 1 and 1000000");
}

TEST(RunOptionsTest, ACustomModelIsItsTensorsAndStartsFromAFile) {
  v1::RunSpec run = MakeRun("mode: distro");
  run.mutable_data()->set_kind(v1::DataSpec::CUSTOM);
  v1::TensorSpec& tensor = *run.mutable_model()->mutable_custom()->add_tensors();
  tensor.set_name("layers.0.weight");
  tensor.add_shape(3);
  tensor.add_shape(2);
  EXPECT_EQ(Problem(run), "model.initial_weights: is missing: a custom model starts from a file of weights");
  run.mutable_model()->set_initial_weights("w.safetensors");
  EXPECT_EQ(ValidateRunSpec(run), absl::OkStatus());
  EXPECT_EQ(optim::MakeLayout(ModelSpecOf(run).value())->size(), 6);
  run.mutable_data()->set_kind(v1::DataSpec::TEXT);
  EXPECT_EQ(Problem(run), "data.kind: model custom needs kind custom");
  run.mutable_data()->set_kind(v1::DataSpec::CUSTOM);
  tensor.set_frozen(true);
  EXPECT_THAT(Problem(run), HasSubstr("nothing in it is trained"));
  tensor.set_frozen(false);
  tensor.set_shape(0, 0);
  EXPECT_EQ(Problem(run), "model.custom.tensors[0].shape: 0 is not between 1 and 268435456");
  tensor.set_shape(0, 3);
  tensor.set_name("a\nb");
  EXPECT_THAT(Problem(run), HasSubstr("model.custom.tensors[0].name: contains a control character"));
  tensor.set_name("");
  EXPECT_THAT(Problem(run), HasSubstr("model.custom.tensors[0].name"));
}

TEST(RunOptionsTest, FieldRangesAreCheckedFirst) {
  EXPECT_EQ(Problem(v1::RunSpec()), "name: is empty");
  v1::RunSpec run = MakeRun("mode: distro");
  run.set_rounds(0);
  EXPECT_EQ(Problem(run), "rounds: 0 is less than 1");
}

TEST(RunOptionsTest, ModelsBecomeTheirPlainTypes) {
  v1::RunSpec run = MakeRun("mode: distro");
  EXPECT_EQ(std::get<optim::GptModel>(ModelSpecOf(run).value()).width, 128);
  run.mutable_model()->mutable_mlp()->set_inputs(4);
  run.mutable_model()->mutable_mlp()->add_hidden(8);
  run.mutable_model()->mutable_mlp()->set_outputs(2);
  EXPECT_EQ(std::get<optim::MlpModel>(ModelSpecOf(run).value()).hidden, (std::vector<int64_t>{8}));
}

TEST(RunOptionsTest, MetricsAreThoseThatTheModelHas) {
  EXPECT_EQ(ValidateRunSpec(MakeRun("mode: distro", "evaluation: {metrics: [perplexity, accuracy]}\n")), absl::OkStatus());
  EXPECT_EQ(Problem(MakeRun("mode: distro", "evaluation: {metrics: [auroc]}\n")),
            "evaluation.metrics: 'auroc' is no metric of this model; it has accuracy, perplexity");
  v1::RunSpec table = MakeRun("mode: distro", "evaluation: {metrics: [accuracy, auroc, f1]}\n");
  table.mutable_model()->mutable_mlp()->set_inputs(3);
  table.mutable_model()->mutable_mlp()->set_outputs(2);
  table.mutable_data()->set_kind(v1::DataSpec::CSV);
  table.mutable_data()->set_label_column("label");
  EXPECT_EQ(ValidateRunSpec(table), absl::OkStatus());
  table.mutable_model()->mutable_mlp()->set_outputs(101);
  EXPECT_EQ(Problem(table), "evaluation.metrics: auroc is of at most 100 classes; this model has 101");
}

TEST(RunOptionsTest, ARunEndsEarlyByWhatItIsEvaluatedBy) {
  const v1::RunSpec run = MakeRun("mode: distro", "stop_when: {patience: 3}\n");
  EXPECT_EQ(ValidateRunSpec(run), absl::OkStatus());
  EXPECT_EQ(JudgedBy(run), kLossName);
  EXPECT_EQ(JudgedBy(v1::RunSpec()), kLossName);
  EXPECT_EQ(Problem(MakeRun("mode: distro", "stop_when: {metric: accuracy, patience: 3}\n")),
            "stop_when.metric: 'accuracy' is not among evaluation.metrics; name it there, or judge by `loss`");
}

}  // namespace
}  // namespace tributary
