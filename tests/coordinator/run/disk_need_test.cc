#include "coordinator/run/disk_need.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "proto/config/yaml.h"

namespace tributary::coordinator {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr uint64_t kMiB = 1 << 20;

// A million parameters: 4 MB a dense commit, 12 MB a state of AdamW.
RunModel Model(const std::string& mode, uint64_t rounds) {
  v1::RunSpec spec;
  const std::string yaml = "name: big\nrounds: " + std::to_string(rounds) +
                           "\nmodel: {mlp: {inputs: 1953, hidden: [509], outputs: 10}}\ndata: {kind: csv, label_column: label}\n"
                           "optimizer: {mode: " +
                           mode + ", learning_rate: {peak: 0.01}}\n";
  EXPECT_TRUE(ParseYaml(yaml, "run.yaml", &spec).ok());
  return *RunModel::Of(spec);
}

v1::CoordinatorConfig Config(v1::LogConfig::Keep keep) {
  v1::CoordinatorConfig config;
  config.set_data_dir("/data");
  config.mutable_snapshots()->set_every(25);
  config.mutable_snapshots()->set_keep(2);
  config.mutable_snapshots()->set_log(256 * kMiB);
  config.mutable_log()->set_keep(keep);
  return config;
}

TEST(DiskNeed, OfAWholeLogGrowsWithTheRoundsAndOfAPrunedOneDoesNot) {
  const RunModel model = Model("allreduce", 4000);
  const v1::CoordinatorConfig all = Config(v1::LogConfig::ALL);
  const v1::CoordinatorConfig pruned = Config(v1::LogConfig::SINCE_SNAPSHOT);
  EXPECT_GT(DiskBytes(model, all, 8, 4000), 4000 * 3.8 * kMiB);
  EXPECT_LT(DiskBytes(model, pruned, 8, 4000), 500 * kMiB);
  EXPECT_EQ(DiskBytes(model, pruned, 8, 5), DiskBytes(model, all, 8, 5)) << "nothing is pruned yet";
}

TEST(DiskNeed, CountsWhatIsKeptBesides) {
  const RunModel model = Model("allreduce", 4000);
  v1::CoordinatorConfig config = Config(v1::LogConfig::SINCE_SNAPSHOT);
  const uint64_t least = DiskBytes(model, config, 8, 4000);
  config.mutable_log()->set_rounds(1000);
  EXPECT_GT(DiskBytes(model, config, 8, 4000), least + 900 * 3.8 * kMiB);
  config.mutable_log()->set_rounds(0);
  config.mutable_log()->set_bytes(1024 * kMiB);
  EXPECT_GT(DiskBytes(model, config, 8, 4000), least + 900 * kMiB);
}

TEST(DiskNeed, ARunWhoseFirstRoundDoesNotFitIsRefusedWithBothFigures) {
  const absl::Status judged = JudgeDisk(Model("allreduce", 10), Config(v1::LogConfig::ALL), 8, 0, 40 * kMiB).status();
  EXPECT_TRUE(absl::IsResourceExhausted(judged)) << judged;
  EXPECT_THAT(std::string(judged.message()), AllOf(HasSubstr("one round with 8 sites and the first snapshots take 57."),
                                                   HasSubstr("40.00 MiB are free in /data; free some space")));
}

TEST(DiskNeed, ARunThatIsExtendedNeedsOnlyWhatIsAdded) {
  const absl::StatusOr<std::string> judged = JudgeDisk(Model("allreduce", 4000), Config(v1::LogConfig::ALL), 8, 3000, 1024 * kMiB);
  ASSERT_TRUE(judged.ok()) << judged.status();
  EXPECT_THAT(*judged, AllOf(HasSubstr("its 1000 further rounds with up to 8 sites may take 3."), HasSubstr("1.00 GiB are free")));
  EXPECT_EQ(*JudgeDisk(Model("allreduce", 4000), Config(v1::LogConfig::ALL), 8, 3900, 1024 * kMiB), "");
  const absl::Status refused = JudgeDisk(Model("allreduce", 4000), Config(v1::LogConfig::ALL), 8, 3000, kMiB).status();
  EXPECT_THAT(std::string(refused.message()), HasSubstr("free some space, then extend it again"));
}

TEST(DiskNeed, ARunThatDoesNotFitToItsEndIsTakenWithAWarning) {
  const absl::StatusOr<std::string> judged = JudgeDisk(Model("allreduce", 4000), Config(v1::LogConfig::ALL), 8, 0, 1024 * kMiB);
  ASSERT_TRUE(judged.ok()) << judged.status();
  EXPECT_THAT(*judged, AllOf(HasSubstr("4000 rounds with up to 8 sites may take 15."), HasSubstr("1.00 GiB are free"),
                             HasSubstr("or set `log.keep: since_snapshot`")));
  EXPECT_EQ(*JudgeDisk(Model("allreduce", 4000), Config(v1::LogConfig::SINCE_SNAPSHOT), 8, 0, 1024 * kMiB), "");
  EXPECT_EQ(*JudgeDisk(Model("distro", 4000), Config(v1::LogConfig::ALL), 8, 0, 1024 * kMiB), "");
}

}  // namespace
}  // namespace tributary::coordinator
