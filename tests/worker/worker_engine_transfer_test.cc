// Uploads and downloads: what a bad line, a slow one and a damaged file lead to.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/exit_codes.h"
#include "tests/worker/engine_driver.h"
#include "worker/worker_engine.h"

namespace tributary::worker {
namespace {

using ::testing::HasSubstr;

// In round 1, with its update too long for the session.
EngineDriver& BeginUpload(EngineDriver& driver) {
  driver.Join(/*max_inline=*/4).Start(1);
  EXPECT_TRUE(driver.Training());
  return driver.Train("update 1");
}

// In need of commits 1 to 3.
EngineDriver& BeginDownload(EngineDriver& driver) {
  return driver.Join().Lose().Return(EngineDriver::PlanTo(3));
}

// Goes from wake-up to wake-up until there is a `What` among the actions; the coordinator is heard from all the time.
template <typename What>
const What* WaitFor(EngineDriver& driver) {
  for (int i = 0; i < 100; ++i) {
    if (const auto* what = driver.Find<What>()) {
      return what;
    }
    if (driver.Find<action::Exit>() != nullptr) {
      return nullptr;
    }
    v1::CoordinatorMessage ack;
    ack.mutable_heartbeat_ack();
    driver.Receive(std::move(ack)).AdvanceToWakeup();
  }
  return nullptr;
}

// The download under way ends with `status`, again and again, and each new plan is the same, until the worker ends or `times` are over.
// Returns its exit code, if any.
std::optional<ExitCode> FailDownloads(EngineDriver& driver, const absl::Status& status, int times, uint64_t arrived = 0) {
  for (int i = 0; i < times; ++i) {
    const auto* download = WaitFor<action::Download>(driver);
    if (download == nullptr) {
      return std::nullopt;
    }
    driver.Feed(event::Downloaded{download->transfer, status, arrived});
    if (const auto* exit = driver.Find<action::Exit>()) {
      return ExitCodeOf(exit->status);
    }
    if (driver.Sent(v1::WorkerMessage::kReady) != nullptr) {
      driver.Plan(EngineDriver::PlanTo(3));
    }
  }
  return ExitCode::kOk;
}

TEST(UploadTest, ALongUpdateGoesBesideTheSession) {
  EngineDriver driver;
  BeginUpload(driver);
  EXPECT_EQ(driver.Sent(v1::WorkerMessage::kUpdate), nullptr);
  const auto* upload = driver.Find<action::Upload>();
  ASSERT_NE(upload, nullptr);
  EXPECT_EQ(upload->header.id().round(), 1u);
  EXPECT_EQ(upload->header.id().sha256(), "digest of it");
  EXPECT_EQ(upload->header.total_bytes(), 8u);
  EXPECT_EQ(upload->header.base_state_hash(), HashOf(0));
  EXPECT_EQ(*upload->payload, "update 1");
}

TEST(UploadTest, ABrokenUploadIsContinuedAfterAWait) {
  EngineDriver driver;
  BeginUpload(driver);
  driver.Feed(event::Uploaded{driver.Find<action::Upload>()->transfer, absl::UnavailableError("reset")});
  EXPECT_EQ(driver.Find<action::Upload>(), nullptr);
  driver.AdvanceToWakeup();
  ASSERT_NE(driver.Find<action::Upload>(), nullptr);
  driver.Feed(event::Uploaded{driver.Find<action::Upload>()->transfer, absl::OkStatus()});
  driver.Advance(absl::Seconds(5));
  EXPECT_EQ(driver.Find<action::Upload>(), nullptr) << "it has arrived";
}

TEST(UploadTest, AnUploadIsContinuedOverTheNextSession) {
  EngineDriver driver;
  BeginUpload(driver);
  driver.Lose();
  EXPECT_NE(driver.Find<action::CancelTransfer>(), nullptr);
  driver.Return(EngineDriver::PlanTo(0), 4).Start(1);
  EXPECT_NE(driver.Find<action::Upload>(), nullptr);
}

TEST(UploadTest, TheEndOfTheRoundEndsItsUpload) {
  EngineDriver driver;
  BeginUpload(driver).Commit(1);
  EXPECT_NE(driver.Find<action::CancelTransfer>(), nullptr);
  ASSERT_NE(driver.Find<action::Settle>(), nullptr);
  EXPECT_EQ(driver.Find<action::Settle>()->fate, UpdateFate::kNotIncluded);
}

TEST(UploadTest, AnUploadThatComesTooLateIsNotTriedAgain) {
  EngineDriver driver;
  BeginUpload(driver);
  driver.Feed(event::Uploaded{driver.Find<action::Upload>()->transfer, absl::FailedPreconditionError("round 1 is closed")});
  EXPECT_TRUE(driver.engine().has_pending_update()) << "its receipt or the commit decides";
  driver.Advance(absl::Seconds(5));
  EXPECT_EQ(driver.Find<action::Upload>(), nullptr);
}

TEST(UploadTest, AnUploadThatAProxyRefusesForAMomentIsContinued) {
  EngineDriver driver;
  BeginUpload(driver);
  driver.Feed(event::Uploaded{driver.Find<action::Upload>()->transfer, absl::PermissionDeniedError("403")});
  EXPECT_TRUE(driver.engine().has_pending_update());
  driver.Advance(absl::Seconds(5));
  EXPECT_NE(driver.Find<action::Upload>(), nullptr);
}

TEST(UploadTest, AnUploadThatIsRefusedForGoodSkipsTheRound) {
  EngineDriver driver;
  BeginUpload(driver);
  driver.Feed(event::Uploaded{driver.Find<action::Upload>()->transfer, absl::ResourceExhaustedError("too long")});
  ASSERT_NE(driver.Find<action::Settle>(), nullptr);
  EXPECT_EQ(driver.Find<action::Settle>()->fate, UpdateFate::kNotIncluded);
  EXPECT_NE(driver.Sent(v1::WorkerMessage::kUpdateSkipped), nullptr);
}

TEST(UploadTest, AnUploadThatMovesOnIsNeverGivenUpAndSoonContinued) {
  EngineDriver driver;
  BeginUpload(driver);
  for (uint64_t attempt = 0; attempt < 200; ++attempt) {
    const auto* upload = WaitFor<action::Upload>(driver);
    ASSERT_NE(upload, nullptr) << attempt;
    driver.Feed(event::Uploaded{upload->transfer, absl::UnavailableError("reset"), 1000 * attempt});
    ASSERT_EQ(driver.engine().NextWakeup() - driver.now(), absl::Milliseconds(500)) << attempt;
    ASSERT_EQ(driver.Notes().empty(), attempt > 0) << "said once: " << driver.Notes();
  }
  EXPECT_TRUE(driver.engine().has_pending_update());
}

TEST(UploadTest, AnUploadOfWhichNothingArrivesIsGivenUp) {
  EngineDriver driver;
  BeginUpload(driver);
  int attempts = 0;
  while (driver.engine().has_pending_update() && attempts < 100) {
    const auto* upload = WaitFor<action::Upload>(driver);
    ASSERT_NE(upload, nullptr) << attempts;
    driver.Feed(event::Uploaded{upload->transfer, absl::UnavailableError("reset"), 1000});
    ++attempts;
  }
  EXPECT_EQ(attempts, 21);
  EXPECT_NE(driver.Sent(v1::WorkerMessage::kUpdateSkipped), nullptr);
}

TEST(DownloadTest, ADownloadThatMovesOnIsNeverGivenUpAndSoonContinued) {
  EngineDriver driver;
  BeginDownload(driver);
  for (uint64_t attempt = 1; attempt < 200; ++attempt) {
    const auto* download = WaitFor<action::Download>(driver);
    ASSERT_NE(download, nullptr) << attempt;
    driver.Feed(event::Downloaded{download->transfer, absl::UnavailableError("reset"), 1000 * attempt});
    ASSERT_EQ(driver.engine().NextWakeup() - driver.now(), absl::Milliseconds(500)) << attempt;
    ASSERT_EQ(driver.Notes().empty(), attempt > 1) << "said once: " << driver.Notes();
    ASSERT_EQ(driver.Sent(v1::WorkerMessage::kReady), nullptr) << "the plan stands";
  }
}

TEST(DownloadTest, NoLineIsBadEnoughToEndTheWorker) {
  for (const absl::Status& status : {absl::UnavailableError("reset"), absl::DeadlineExceededError("nothing moved for 1m"),
                                     absl::UnauthenticatedError("401"), absl::PermissionDeniedError("403")}) {
    EngineDriver driver;
    BeginDownload(driver);
    EXPECT_EQ(FailDownloads(driver, status, 500), ExitCode::kOk) << status;
  }
}

TEST(DownloadTest, ACoordinatorInTroubleIsGivenAnHourWithoutAByte) {
  for (const absl::Status& status : {absl::InternalError("cannot read the snapshot: Input/output error"),
                                     absl::UnknownError("Stream removed"), absl::ResourceExhaustedError("4 downloads open already")}) {
    for (const uint64_t arrived : {0, 1000}) {
      EngineDriver driver;
      BeginDownload(driver);
      const absl::Time start = driver.now();
      EXPECT_EQ(FailDownloads(driver, status, 500, arrived), ExitCode::kDamaged) << status;
      EXPECT_GE(driver.now() - start, absl::Minutes(50));
      EXPECT_LE(driver.now() - start, absl::Minutes(90));
    }
  }
}

TEST(DownloadTest, ACoordinatorInTroubleThatDeliversNowAndThenIsBornWith) {
  EngineDriver driver;
  BeginDownload(driver);
  for (uint64_t arrived = 1; arrived < 20; ++arrived) {
    ASSERT_EQ(FailDownloads(driver, absl::InternalError("Input/output error"), 30, arrived), ExitCode::kOk) << arrived;
  }
}

TEST(DownloadTest, ANewPlanDoesNotEndTheWaitForABadLine) {
  EngineDriver driver;
  BeginDownload(driver);
  for (int attempt = 0; attempt < 50; ++attempt) {
    const auto* download = WaitFor<action::Download>(driver);
    ASSERT_NE(download, nullptr) << attempt;
    driver.Feed(event::Downloaded{download->transfer, absl::UnavailableError("reset"), 1000});
    const absl::Time failed = driver.now();
    if (driver.Sent(v1::WorkerMessage::kReady) != nullptr) {
      driver.Plan(EngineDriver::PlanTo(3));
    }
    ASSERT_NE(WaitFor<action::Download>(driver), nullptr);
    if (attempt > 6) {
      ASSERT_EQ(driver.now() - failed, absl::Seconds(30)) << attempt;
    }
  }
}

TEST(DownloadTest, WhatIsPrunedBeforeASlowLineHasItIsNoDamage) {
  EngineDriver driver;
  BeginDownload(driver);
  const absl::Time start = driver.now();
  EXPECT_EQ(FailDownloads(driver, absl::NotFoundError("pruned"), 20, /*arrived=*/1000), ExitCode::kOk);
  EXPECT_GE(driver.now() - start, 19 * absl::Milliseconds(500)) << "each new plan waits";
}

TEST(DownloadTest, WhatNobodyCanFetchEndsTheWorkerAsDamaged) {
  for (const absl::Status& status : {absl::NotFoundError("no such round"), absl::DataLossError("a checksum"),
                                     absl::FailedPreconditionError("longer than this model can need")}) {
    EngineDriver driver;
    BeginDownload(driver);
    EXPECT_EQ(FailDownloads(driver, status, 500), ExitCode::kDamaged) << status;
  }
}

TEST(DownloadTest, TheSameBytesOverAndOverAreNoProgress) {
  EngineDriver driver;
  BeginDownload(driver);
  EXPECT_EQ(FailDownloads(driver, absl::DataLossError("the download fails its SHA-256"), 500, /*arrived=*/1000), ExitCode::kDamaged);
  EXPECT_THAT(std::string(driver.Find<action::Exit>()->status.message()), HasSubstr("SHA-256"));
}

}  // namespace
}  // namespace tributary::worker
