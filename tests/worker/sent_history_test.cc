// The record of what left a site.
#include "worker/sent_history.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "tests/common/test_folder.h"

namespace tributary::worker {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

Sent SentUpdate(uint64_t round) {
  return {absl::FromUnixMillis(1'767'225'600'500), "coordinator:443", "bible-1", round, 5000, std::string(32, '\xab'), 2.25, std::nullopt};
}

v1::WorkerMessage UpdateMessage(const std::string& payload) {
  v1::WorkerMessage message;
  v1::Update& update = *message.mutable_update();
  update.set_run_id("bible-1");
  update.set_round(3);
  update.set_payload(payload);
  update.mutable_report()->set_train_loss(1.5);
  return message;
}

TEST(SentHistoryTest, KeepsWhatWasSentOverRestarts) {
  const TestFolder folder;
  ASSERT_TRUE(SentHistory(folder.path()).Add(SentUpdate(1)).ok());
  Sent second = SentUpdate(2);
  second.val_loss = 2.5;
  second.metrics = {{"accuracy", 0.5}};
  ASSERT_TRUE(SentHistory(folder.path()).Add(second).ok());
  const std::vector<Sent> all = ReadSentHistory(folder.path());
  ASSERT_THAT(all, SizeIs(2));
  EXPECT_EQ(SentJson(all[1]), SentJson(second));
  EXPECT_EQ(all[1].metrics, second.metrics);
  EXPECT_EQ(all[0].round, 1U);
}

TEST(SentHistoryTest, HasAnUpdateOnceHoweverOftenItIsSent) {
  const TestFolder folder;
  SentHistory history(folder.path());
  ASSERT_TRUE(history.Add(SentUpdate(1)).ok());
  ASSERT_TRUE(history.Add(SentUpdate(1)).ok());
  EXPECT_THAT(ReadSentHistory(folder.path()), SizeIs(1));
}

TEST(SentHistoryTest, PutsAFullFileAsideAndDropsTheOneBefore) {
  const TestFolder folder;
  SentHistory history(folder.path(), /*max_bytes=*/1000);
  for (uint64_t round = 1; round <= 100; ++round) {
    ASSERT_TRUE(history.Add(SentUpdate(round)).ok());
  }
  uint64_t bytes = 0;
  for (const auto& file : std::filesystem::directory_iterator(folder.path())) {
    bytes += file.file_size();
  }
  EXPECT_LT(bytes, 2500U);
  const std::vector<Sent> all = ReadSentHistory(folder.path());
  ASSERT_FALSE(all.empty());
  EXPECT_EQ(all.back().round, 100U);
  EXPECT_EQ(all.front().round, 101 - all.size()) << "without gaps";
}

TEST(SentHistoryTest, ReadsPastATornLine) {
  const TestFolder folder;
  ASSERT_TRUE(SentHistory(folder.path()).Add(SentUpdate(1)).ok());
  std::ofstream(absl::StrCat(folder.path(), "/sent_history.jsonl"), std::ios::app) << "{\"at\":\"2026\n[]\n{}\n";
  ASSERT_TRUE(SentHistory(folder.path()).Add(SentUpdate(2)).ok());
  EXPECT_THAT(ReadSentHistory(folder.path()), SizeIs(2));
}

TEST(SentHistoryTest, IsForItsUserAlone) {
  const TestFolder folder;
  ASSERT_TRUE(SentHistory(folder.path()).Add(SentUpdate(1)).ok());
  const auto permissions = std::filesystem::status(absl::StrCat(folder.path(), "/sent_history.jsonl")).permissions();
  EXPECT_EQ(permissions & std::filesystem::perms(077), std::filesystem::perms::none);
}

TEST(SentHistoryTest, SaysThatItCannotBeWritten) {
  EXPECT_FALSE(SentHistory("/nonexistent/folder").Add(SentUpdate(1)).ok());
  EXPECT_THAT(ReadSentHistory("/nonexistent/folder"), IsEmpty());
}

TEST(SentHistoryTest, TakesUpdatesAndEvaluationsFromWhatIsSent) {
  const std::optional<Sent> update = SentIn(UpdateMessage("payload"));
  ASSERT_TRUE(update.has_value());
  EXPECT_EQ(update->bytes, 7U);
  EXPECT_THAT(update->sha256, SizeIs(32));
  EXPECT_EQ(update->train_loss, 1.5);
  v1::WorkerMessage report;
  report.mutable_state_report()->set_round(4);
  EXPECT_FALSE(SentIn(report).has_value()) << "a state hash alone tells nothing of the data";
  report.mutable_state_report()->set_val_loss(2);
  EXPECT_EQ(SentIn(report)->val_loss, 2);
  v1::WorkerMessage heartbeat;
  heartbeat.mutable_heartbeat();
  EXPECT_FALSE(SentIn(heartbeat).has_value());
}

TEST(SentHistoryTest, LeavesOutLossesThatStayHere) {
  v1::WorkerMessage message = UpdateMessage("payload");
  message.mutable_update()->mutable_report()->set_train_loss(std::numeric_limits<float>::quiet_NaN());
  EXPECT_FALSE(SentJson(*SentIn(message)).contains("train_loss"));
}

}  // namespace
}  // namespace tributary::worker
