// Directions, evaluation, training alone and sampling, on small models and real files.
#include <cmath>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/exit_codes.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "optim/adamw.h"
#include "tests/common/test_folder.h"
#include "worker/data/utf8.h"
#include "worker/evaluation.h"
#include "worker/sample.h"
#include "worker/solo.h"
#include "worker/trainer.h"

namespace tributary::worker {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

// A small language: numbers in words, over and over.
std::string Sentences(int count) {
  const char* const words[] = {"one", "two", "three", "four", "five"};
  std::string text;
  for (int i = 0; i < count; ++i) {
    absl::StrAppend(&text, words[i % 5], " is before ", words[(i + 1) % 5], ".\n");
  }
  return text;
}

class TrainerTest : public ::testing::Test {
 protected:
  TrainerTest() {
    data_.Write("numbers.txt", Sentences(400));
    options_.model = optim::GptModel{.layers = 1, .heads = 2, .width = 16, .context = 16};
    options_.optimizer = optim::Defaults(optim::Mode::kDistro);
    options_.data_folder = data_.path();
    options_.batch_size = 4;
    options_.validation_fraction = 0.1;
    options_.evaluation_batches = 3;
    options_.site = "berlin";
  }

  void SetUp() override {
    const auto layout = optim::MakeLayout(options_.model);
    ASSERT_TRUE(layout.ok()) << layout.status();
    layout_ = *layout;
    theta_.resize(static_cast<size_t>(layout_.size()));
    ASSERT_TRUE(optim::InitializeWeights(options_.model, 1, layout_, absl::MakeSpan(theta_)).ok());
  }

  std::unique_ptr<Trainer> MakeTrainer(const TrainerOptions& options) {
    auto trainer = Trainer::Create(options, layout_);
    EXPECT_TRUE(trainer.ok()) << trainer.status();
    return *std::move(trainer);
  }

  // The direction of `parameters`, and the mean training loss.
  std::vector<float> Direction(Trainer& trainer, const optim::RoundParameters& parameters, float* loss = nullptr) {
    std::vector<float> direction(theta_.size(), 5.0f);
    const auto result = trainer.ComputeDirection(parameters, theta_, absl::MakeSpan(direction));
    EXPECT_TRUE(result.ok()) << result.status();
    if (loss != nullptr && result.ok()) {
      *loss = result->train_loss;
    }
    return direction;
  }

  void UseLocalSteps(uint32_t steps) {
    options_.optimizer = optim::Defaults(optim::Mode::kLocal);
    options_.optimizer.local_steps = steps;
  }

  TestFolder data_;
  TrainerOptions options_;
  optim::Layout layout_;
  std::vector<float> theta_;
};

TEST_F(TrainerTest, TheGradientIsThatOfTheRoundsBatch) {
  const auto trainer = MakeTrainer(options_);
  float loss = 0;
  const std::vector<float> direction = Direction(*trainer, {.round = 7, .learning_rate = 1, .local_steps = 1}, &loss);

  const auto data = OpenData(options_, options_.data_folder);
  const auto model = OpenModel(options_, layout_);
  ASSERT_TRUE(data.ok() && model.ok());
  CounterRng rng = BatchRng(options_, 7, 0);
  std::vector<float> expected(theta_.size());
  const auto expected_loss = (*model)->LossAndGradient(theta_, (*data)->DrawTraining(rng, 4), absl::MakeSpan(expected));
  ASSERT_TRUE(expected_loss.ok()) << expected_loss.status();
  EXPECT_EQ(direction, expected);
  EXPECT_FLOAT_EQ(loss, static_cast<float>(*expected_loss));
}

TEST_F(TrainerTest, TheSameRoundGivesTheSameBitsInAnotherProcessLifetime) {
  const optim::RoundParameters parameters{.round = 3, .learning_rate = 1e-2f, .local_steps = 1};
  const auto first = MakeTrainer(options_);
  Direction(*first, {.round = 2, .learning_rate = 1e-2f, .local_steps = 1});
  EXPECT_EQ(Direction(*first, parameters), Direction(*MakeTrainer(options_), parameters));
}

TEST_F(TrainerTest, SitesRoundsAndSeedsDrawDifferentBatches) {
  const optim::RoundParameters parameters{.round = 3, .learning_rate = 1e-2f, .local_steps = 1};
  const std::vector<float> direction = Direction(*MakeTrainer(options_), parameters);
  TrainerOptions other = options_;
  other.site = "paris";
  EXPECT_NE(direction, Direction(*MakeTrainer(other), parameters));
  other = options_;
  other.seed = 2;
  EXPECT_NE(direction, Direction(*MakeTrainer(other), parameters));
  EXPECT_NE(direction, Direction(*MakeTrainer(options_), {.round = 4, .learning_rate = 1e-2f, .local_steps = 1}));
}

TEST_F(TrainerTest, OneLocalStepIsOneStepOfAdamW) {
  UseLocalSteps(1);
  options_.optimizer.weight_decay = 0.1f;
  const std::vector<float> direction = Direction(*MakeTrainer(options_), {.round = 1, .learning_rate = 1e-2f, .local_steps = 1});

  TrainerOptions gradient_options = options_;
  gradient_options.optimizer.mode = optim::Mode::kDistro;
  std::vector<float> gradient = Direction(*MakeTrainer(gradient_options), {.round = 1, .learning_rate = 1e-2f, .local_steps = 1});
  std::vector<float> local = theta_, m(theta_.size()), v(theta_.size());
  optim::ClipNorm(options_.optimizer.clip_norm, absl::MakeSpan(gradient));
  optim::AdamWStep(options_.optimizer.adam, 1e-2f, 0.1f, 1, gradient, absl::MakeSpan(m), absl::MakeSpan(v), absl::MakeSpan(local));
  for (size_t i = 0; i < local.size(); ++i) {
    ASSERT_EQ(direction[i], theta_[i] - local[i]) << i;
  }
}

// Every look at it is a step later.
class StepClock final : public Clock {
 public:
  explicit StepClock(absl::Duration step) : step_(step) {}
  absl::Time Now() const override { return absl::UnixEpoch() + (passed_ += step_); }
  absl::Time WallNow() const override { return Now(); }

 private:
  const absl::Duration step_;
  mutable absl::Duration passed_;
};

TEST_F(TrainerTest, TimedStepsAreAsManyAsFitAndTheSameAsThoseOfARoundThatSaysSo) {
  UseLocalSteps(7);
  const std::vector<float> told = Direction(*MakeTrainer(options_), {.round = 1, .learning_rate = 1e-2f, .local_steps = 7});
  StepClock clock(absl::Milliseconds(130));
  options_.clock = &clock;
  options_.optimizer.local_time = absl::Seconds(1);
  const auto trainer = MakeTrainer(options_);
  std::vector<float> direction(theta_.size());
  const auto result = trainer->ComputeDirection({.round = 1, .learning_rate = 1e-2f, .local_steps = 50}, theta_, absl::MakeSpan(direction));
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->local_steps, 7u) << "of 130 ms each, in 1 s";
  EXPECT_EQ(direction, told) << "who scales it to 50 is the training run";
}

TEST_F(TrainerTest, TimedStepsAreTwoAtLeastAndNoMoreThanTheSiteTakes) {
  UseLocalSteps(2);
  options_.optimizer.local_time = absl::Milliseconds(1);
  const auto taken = [this](absl::Duration step) {
    StepClock clock(step);
    options_.clock = &clock;
    std::vector<float> direction(theta_.size());
    return MakeTrainer(options_)
        ->ComputeDirection({.round = 1, .learning_rate = 1e-2f, .local_steps = 2}, theta_, absl::MakeSpan(direction))
        ->local_steps;
  };
  EXPECT_EQ(taken(absl::Hours(1)), 2u);
  options_.most_local_steps = 5;
  EXPECT_EQ(taken(absl::ZeroDuration()), 5u);
}

TEST_F(TrainerTest, LocalStepsLowerTheLossAndKeepTheirMomentsFromRoundToRound) {
  UseLocalSteps(8);
  const auto trainer = MakeTrainer(options_);
  float loss_first = 0, loss_last = 0;
  const optim::RoundParameters parameters{.round = 1, .learning_rate = 1e-2f, .local_steps = 8};
  const std::vector<float> first = Direction(*trainer, parameters, &loss_first);
  EXPECT_NE(first, Direction(*trainer, parameters));  // the moments differ now
  for (size_t i = 0; i < theta_.size(); ++i) {
    theta_[i] -= first[i];
  }
  Direction(*trainer, {.round = 2, .learning_rate = 1e-2f, .local_steps = 8}, &loss_last);
  EXPECT_LT(loss_last, loss_first - 0.3f);
}

TEST_F(TrainerTest, ARestoredTrainerGoesOnWithTheSameBits) {
  for (const bool local : {false, true}) {
    if (local) {
      UseLocalSteps(3);
    }
    const auto first = MakeTrainer(options_);
    const auto second = MakeTrainer(options_);
    EXPECT_EQ(second->RestoreState(first->SaveState()), absl::OkStatus()) << "before the first round";
    for (uint64_t round = 1; round <= 2; ++round) {
      Direction(*first, {.round = round, .learning_rate = 1e-2f, .local_steps = 3});
    }
    const std::string saved = first->SaveState();
    EXPECT_EQ(saved.empty(), !local) << "gradients have no memory";
    ASSERT_EQ(second->RestoreState(saved), absl::OkStatus());
    EXPECT_EQ(second->SaveState(), saved);
    const optim::RoundParameters next{.round = 3, .learning_rate = 1e-2f, .local_steps = 3};
    EXPECT_EQ(Direction(*second, next), Direction(*first, next));
    if (!local) {
      continue;
    }
    EXPECT_NE(Direction(*MakeTrainer(options_), next), Direction(*second, next)) << "the moments count";
    const std::string before = second->SaveState();
    for (size_t at = 0; at < saved.size(); at += 997) {
      std::string damaged = saved;
      damaged[at] = static_cast<char>(damaged[at] ^ 1);
      EXPECT_EQ(second->RestoreState(damaged).code(), absl::StatusCode::kDataLoss) << at;
      EXPECT_EQ(second->RestoreState(saved.substr(0, std::max<size_t>(at, 1))).code(), absl::StatusCode::kDataLoss) << at;
    }
    EXPECT_EQ(second->SaveState(), before);
  }
}

TEST_F(TrainerTest, AGradientThatIsNotFiniteSkipsTheRoundWithAReason) {
  UseLocalSteps(2);
  const auto trainer = MakeTrainer(options_);
  const std::vector<float> good = theta_;
  theta_[10] = std::nanf("");
  std::vector<float> direction(theta_.size());
  const optim::RoundParameters parameters{.round = 9, .learning_rate = 1e-2f, .local_steps = 2};
  const auto result = trainer->ComputeDirection(parameters, theta_, absl::MakeSpan(direction));
  EXPECT_EQ(result.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(result.status().message(), HasSubstr("round 9: the gradient of local step 1 is not finite"));
  theta_ = good;
  for (const float value : Direction(*trainer, parameters)) {
    ASSERT_TRUE(std::isfinite(value));
  }
}

TEST_F(TrainerTest, EvaluationIsTheSameEveryTimeAndNearUniformAtTheStart) {
  const auto trainer = MakeTrainer(options_);
  const auto first = trainer->Evaluate(theta_);
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_NEAR(first->loss, std::log(256.0), 0.1);
  Direction(*trainer, {.round = 1, .learning_rate = 1e-2f, .local_steps = 1});
  EXPECT_EQ(first->loss, trainer->Evaluate(theta_)->loss);
}

TEST_F(TrainerTest, AnEvaluationHasTheMetricsThatItIsAskedFor) {
  options_.metrics = {optim::MetricKind::kPerplexity, optim::MetricKind::kAccuracy};
  const auto evaluation = MakeTrainer(options_)->Evaluate(theta_);
  ASSERT_TRUE(evaluation.ok()) << evaluation.status();
  EXPECT_NEAR(evaluation->metrics.at("perplexity"), std::exp(evaluation->loss), 1e-9);
  EXPECT_LE(evaluation->metrics.at("accuracy"), 0.2) << "it has learned nothing yet";
  options_.metrics.clear();
  EXPECT_EQ(MakeTrainer(options_)->Evaluate(theta_)->loss, evaluation->loss) << "the same forward pass";
}

TEST_F(TrainerTest, TimesAreTakenFromTheClock) {
  SimulatedClock clock;
  options_.clock = &clock;
  std::vector<float> direction(theta_.size());
  const auto result =
      MakeTrainer(options_)->ComputeDirection({.round = 1, .learning_rate = 1, .local_steps = 1}, theta_, absl::MakeSpan(direction));
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->compute_seconds, 0.0f);
}

TEST_F(TrainerTest, BadDataAndAWrongLayoutAreErrorsOfTheirOwn) {
  TrainerOptions empty = options_;
  TestFolder folder;
  empty.data_folder = folder.path();
  EXPECT_EQ(ExitCodeOf(Trainer::Create(empty, layout_).status()), ExitCode::kData);
  TrainerOptions mixed = options_;
  mixed.data_kind = optim::DataKind::kCsv;
  EXPECT_EQ(Trainer::Create(mixed, layout_).status().code(), absl::StatusCode::kInvalidArgument);
  TrainerOptions other = options_;
  other.model = optim::GptModel{.layers = 1, .heads = 2, .width = 32, .context = 16};
  EXPECT_EQ(Trainer::Create(other, layout_).status().code(), absl::StatusCode::kInternal);
}

TEST(TableTrainer, AnMlpLearnsASeparableTable) {
  TestFolder folder;
  std::string table = "x,y,label\n";
  for (int i = 0; i < 400; ++i) {
    const double x = std::sin(i * 1.7) * 3, y = std::cos(i * 0.9) * 3;
    absl::StrAppend(&table, x, ",", y, ",", x + 2 * y > 0 ? 1 : 0, "\n");
  }
  folder.Write("points.csv", table);
  SoloOptions options;
  options.trainer.model = optim::MlpModel{.inputs = 2, .hidden = {16}, .outputs = 2};
  options.trainer.optimizer = optim::Defaults(optim::Mode::kAllReduce);
  options.trainer.optimizer.rounds = 150;
  options.trainer.data_kind = optim::DataKind::kCsv;
  options.trainer.data_folder = folder.path();
  options.trainer.table.label_column = "label";
  options.trainer.batch_size = 32;
  options.trainer.validation_fraction = 0.1;
  options.trainer.evaluation_batches = 8;
  options.learning_rate = 2e-2;
  options.evaluation_folders = {folder.path()};
  const auto layout = optim::MakeLayout(options.trainer.model);
  ASSERT_TRUE(layout.ok()) << layout.status();
  options.initial_theta.resize(static_cast<size_t>(layout->size()));
  ASSERT_TRUE(optim::InitializeWeights(options.trainer.model, 1, *layout, absl::MakeSpan(options.initial_theta)).ok());
  const auto result = RunSolo(options, *layout);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_NEAR(result->unigram_loss, std::log(2.0), 0.05);
  EXPECT_LT(result->val_loss_last, 0.2);
}

TEST_F(TrainerTest, TrainingAloneBeatsTheUnigramModelAndIsReproducible) {
  TestFolder second;
  second.Write("more.txt", Sentences(300));
  SoloOptions options;
  options.trainer = options_;
  options.trainer.optimizer.rounds = 40;
  options.trainer.optimizer.local_steps = 2;
  options.learning_rate = 1e-2;
  options.initial_theta = theta_;
  options.evaluation_folders = {data_.path(), second.path()};
  uint64_t rounds = 0;
  options.progress = [&rounds](uint64_t round, double loss) { rounds = round; };
  const auto result = RunSolo(options, layout_);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(rounds, 40u);
  EXPECT_EQ(result->steps, 80u);
  EXPECT_NEAR(result->val_loss_first, std::log(256.0), 0.1);
  EXPECT_GT(result->unigram_loss, 2.0);
  EXPECT_LT(result->unigram_loss, 4.0);
  EXPECT_LT(result->val_loss_last, result->unigram_loss - 0.3);
  ASSERT_EQ(result->val_loss_last_by_folder.size(), 2u);
  EXPECT_NEAR(result->val_loss_last, (result->val_loss_last_by_folder[0] + result->val_loss_last_by_folder[1]) / 2, 1e-12);
  EXPECT_EQ(RunSolo(options, layout_)->theta, result->theta);
}

TEST_F(TrainerTest, ASoloRunWithoutAFolderToEvaluateOnIsRefused) {
  SoloOptions options;
  options.trainer = options_;
  options.initial_theta = theta_;
  EXPECT_EQ(RunSolo(options, layout_).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(TrainerTest, SampledTextContinuesThePromptAndFollowsTheSeed) {
  SampleOptions options;
  options.prompt = "one is before two and more than a context";
  options.bytes = 40;
  const auto& model = std::get<optim::GptModel>(options_.model);
  const auto text = SampleText(model, theta_, options);
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_THAT(*text, StartsWith(options.prompt));
  EXPECT_EQ(text->size(), options.prompt.size() + 40);
  EXPECT_EQ(SampleText(model, theta_, options).value(), *text);
  options.seed = 2;
  EXPECT_NE(SampleText(model, theta_, options).value(), *text);
  const std::string printable = PrintableUtf8(*text);
  EXPECT_EQ(ValidUtf8Prefix(printable), printable.size());
  options.temperature = -1;
  EXPECT_EQ(SampleText(model, theta_, options).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace tributary::worker
