// Runs that do not fit into memory: refused with figures, wherever they turn up.
#include <malloc.h>

#include "absl/strings/str_cat.h"
#include "common/exit_codes.h"
#include "coordinator/run/memory_need.h"
#include "optim/aggregator.h"
#include "proto/config/yaml.h"
#include "tests/coordinator/federation.h"

namespace tributary::coordinator {
namespace {

using ::testing::HasSubstr;

constexpr uint64_t kMiB = uint64_t{1} << 20;

MemoryLimits Limits(uint64_t available) {
  return {64 * kMiB, available, "a test"};
}

v1::RunSpec SpecOf(const std::string& mode, const std::string& model, const std::string& name = "large") {
  v1::RunSpec spec;
  const absl::Status parsed =
      ParseYaml(absl::StrCat("name: ", name, "\nrounds: 100000000\nmodel: {mlp: ", model,
                             "}\ndata: {kind: csv, label_column: label}\noptimizer: {mode: ", mode, ", learning_rate: {peak: 0.01}}\n"),
                "run.yaml", &spec);
  EXPECT_TRUE(parsed.ok()) << parsed;
  return spec;
}

// A federation whose coordinator may take what `available` says.
class Memory : public ::testing::Test {
 protected:
  Memory() {
    federation_.memory = [this] { return Limits(available_); };
    EXPECT_TRUE(federation_.Restart().ok());
  }

  absl::Status Submitted(const v1::RunSpec& spec) { return federation_.coordinator().SubmitRun(spec, "anna").status(); }

  uint64_t available_ = 64 * kMiB;
  Federation federation_{2};
};

TEST_F(Memory, ThatIsTooSmallForARunIsSaidWhenItIsSubmitted) {
  available_ = 5 * kMiB;
  const absl::Status refused = Submitted(SpecOf("allreduce", "{inputs: 1000, hidden: [1000], outputs: 10}"));
  EXPECT_TRUE(absl::IsFailedPrecondition(refused)) << refused;
  EXPECT_EQ(ExitCodeOf(refused), ExitCode::kMemory);
  EXPECT_THAT(refused.message(), HasSubstr("run large needs, on the coordinator, "));
  EXPECT_THAT(refused.message(), HasSubstr("model state 11.57 MiB"));
  EXPECT_THAT(refused.message(), HasSubstr("5.00 MiB of 64.00 MiB are available (a test)"));
  EXPECT_EQ(federation_.coordinator().ListRuns().runs_size(), 0);
}

TEST_F(Memory, NoModelIsTooLargeToBeRefused) {
  for (const std::string mode :
       {"allreduce", "fedavg", "diloco", "signsgd", "signsgd, aggregation: agreement", "distro", "local", "demo"}) {
    // 10^12 parameters.
    EXPECT_TRUE(absl::IsFailedPrecondition(Submitted(SpecOf(mode, "{inputs: 1000000, hidden: [900000], outputs: 2}")))) << mode;
  }
}

TEST_F(Memory, ThatARunInProgressHoldsIsNotHeldAgainstTheNext) {
  const std::string first = Submit(federation_, MakeSpec("toy", 3, 2));
  // Room for the submission of 1,011,010 parameters, and not for their rounds.
  available_ = 15 * kMiB;
  const v1::RunSpec spec = SpecOf("allreduce", "{inputs: 1000, hidden: [1000], outputs: 10}");
  EXPECT_TRUE(Submitted(spec).ok());
  // When its turn comes, it is looked at again.
  ASSERT_TRUE(federation_.coordinator().StopRun(first, {"anna", "enough"}).ok());
  federation_.Settle();
  EXPECT_EQ(federation_.Status("large").state(), v1::FAILED);
  EXPECT_THAT(federation_.Status("large").reason(), HasSubstr("it cannot start: run large-"));
}

TEST_F(Memory, ThatIsTooSmallForAnyCoordinatorOfThisSizeKeepsARunOutOfTheQueue) {
  Submit(federation_, MakeSpec("toy", 3, 2));
  EXPECT_THAT(Submitted(SpecOf("allreduce", "{inputs: 1000, hidden: [5000], outputs: 10}")).message(), HasSubstr("all there is"));
}

TEST_F(Memory, ThatHasBecomeTooSmallEndsARecoveryWithAnErrorOfItsOwn) {
  Submit(federation_, MakeSpec("toy", 3, 2));
  available_ = 100;
  const absl::Status recovered = federation_.Restart();
  EXPECT_EQ(ExitCodeOf(recovered), ExitCode::kMemory);
  EXPECT_THAT(recovered.message(), HasSubstr(": to take it up again needs "));
  available_ = 64 * kMiB;
  EXPECT_TRUE(federation_.Restart().ok());
  EXPECT_EQ(federation_.Status("toy").state(), v1::WAITING);
}

TEST_F(Memory, ThatNobodyKnowsRefusesNothing) {
  federation_.memory = [] { return absl::UnavailableError("no /proc"); };
  ASSERT_TRUE(federation_.Restart().ok());
  EXPECT_TRUE(Submitted(MakeSpec("toy", 3, 2)).ok());
}

TEST_F(Memory, ThatADownloadOfAStateWouldTakeIsAskedFor) {
  const std::string run = Submit(federation_, MakeSpec("toy", 3, 2));
  available_ = 100;
  v1::DownloadRequest request;
  request.set_run_id(run);
  request.set_state_at_round(0);
  EXPECT_THAT(federation_.coordinator().OpenDownload(request, std::nullopt).status().message(),
              HasSubstr("this download needs, on the coordinator, "));
}

// What is promised against what the allocator hands out.
TEST(MemoryNeedOfARun, HoldsWhatStateAndAggregatorTake) {
  for (const std::string mode : {"allreduce", "fedavg", "diloco", "signsgd", "distro", "local", "demo"}) {
    const absl::StatusOr<RunModel> model = RunModel::Of(SpecOf(mode, "{inputs: 1000, hidden: [1000], outputs: 10}"));
    ASSERT_TRUE(model.ok()) << model.status();
    const auto in_use = [] {
      const struct mallinfo2 info = mallinfo2();
      return static_cast<uint64_t>(info.uordblks + info.hblkhd);
    };
    const uint64_t before = in_use();
    const absl::StatusOr<optim::ReplicaState> state = MakeInitialState(*model, nullptr);
    const auto aggregator = optim::MakeAggregator(model->options, model->layout);
    ASSERT_TRUE(state.ok() && (*aggregator)->BeginRound({}, 8).ok());
    const uint64_t held = in_use() - before;
    if (held == 0) {
      GTEST_SKIP() << "a sanitizer's allocator does not tell what it hands out";
    }
    const MemoryNeed need = MemoryToHold(*model, LongUpdates::kInFiles);
    const uint64_t promised = need.terms[0].bytes + need.terms[1].bytes;
    EXPECT_GE(promised + promised / 20, held) << mode << ": " << FormatNeed(need);
    EXPECT_LE(promised, held + held / 20) << mode << ": " << FormatNeed(need);
  }
}

}  // namespace
}  // namespace tributary::coordinator
