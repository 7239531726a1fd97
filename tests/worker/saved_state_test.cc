// What survives a restart with `persist: every_round`: the file, and a replica that goes on from it.
#include "worker/saved_state.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdio>

#include "absl/strings/str_cat.h"
#include "common/checksum.h"
#include "common/clock.h"
#include "common/exit_codes.h"
#include "common/files.h"
#include "tests/common/test_folder.h"
#include "tests/worker/training_site.h"

namespace tributary::worker {
namespace {

using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

class SavedStateTest : public ::testing::Test {
 protected:
  SavedStateTest() : store_(OpenFolder(directory_.path(), 0600).value()), layout_(*optim::Layout::Create({{.name = "a", .shape = {5}}})) {}

  StateOwner Owner() const { return {"run-1", "berlin", &layout_}; }
  static SavedState Example() {
    SavedState state;
    state.round = 7;
    PendingUpdate& pending = state.pending.emplace();
    pending.round = 7;
    pending.base_hash = "a hash";
    pending.update.payload = std::make_shared<const std::string>("a payload");
    pending.update.sha256 = "a digest";
    pending.update.report.set_train_loss(1.5f);
    state.encoder = "an encoder's state";
    state.trainer = "a trainer's";
    return state;
  }

  TestFolder directory_;
  const std::unique_ptr<FileStore> store_;
  const optim::Layout layout_;
};

TEST_F(SavedStateTest, WhatIsWrittenIsRead) {
  ASSERT_EQ(WriteSavedState(Owner(), Example(), *store_), absl::OkStatus());
  const absl::StatusOr<SavedState> state = ReadSavedState(Owner(), *store_);
  ASSERT_TRUE(state.ok()) << state.status();
  EXPECT_EQ(state->round, 7u);
  ASSERT_TRUE(state->pending.has_value());
  EXPECT_EQ(state->pending->round, 7u);
  EXPECT_EQ(state->pending->base_hash, "a hash");
  EXPECT_EQ(*state->pending->update.payload, "a payload");
  EXPECT_EQ(state->pending->update.sha256, "a digest");
  EXPECT_EQ(state->pending->update.report.train_loss(), 1.5f);
  EXPECT_EQ(state->encoder, "an encoder's state");
  EXPECT_EQ(state->trainer, "a trainer's");
}

TEST_F(SavedStateTest, ARoundWithoutAnUpdateIsKeptToo) {
  SavedState state = Example();
  state.pending.reset();
  ASSERT_EQ(WriteSavedState(Owner(), state, *store_), absl::OkStatus());
  EXPECT_FALSE(ReadSavedState(Owner(), *store_)->pending.has_value());
}

TEST_F(SavedStateTest, OnlyTheOwnerOfTheFilesMayReadThem) {
  ASSERT_EQ(WriteSavedState(Owner(), Example(), *store_), absl::OkStatus());
  struct stat info;
  ASSERT_EQ(stat(directory_.File("run-1.state").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
}

TEST_F(SavedStateTest, DamagedAndForeignFilesAreToldApartFromNone) {
  EXPECT_EQ(ReadSavedState(Owner(), *store_).status().code(), absl::StatusCode::kNotFound);
  ASSERT_EQ(WriteSavedState(Owner(), Example(), *store_), absl::OkStatus());
  const std::string whole = *store_->Read("run-1.state", 10'000);
  for (size_t at = 0; at < whole.size(); ++at) {
    std::string damaged = whole;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x40);
    ASSERT_EQ(store_->Write("run-1.state", damaged), absl::OkStatus());
    EXPECT_EQ(ReadSavedState(Owner(), *store_).status().code(), absl::StatusCode::kDataLoss) << at;
    ASSERT_EQ(store_->Write("run-1.state", whole.substr(0, at)), absl::OkStatus());
    EXPECT_EQ(ReadSavedState(Owner(), *store_).status().code(), absl::StatusCode::kDataLoss) << at;
  }
  ASSERT_EQ(store_->Write("run-1.state", whole), absl::OkStatus());
  StateOwner other = Owner();
  other.site = "paris";
  const absl::Status foreign = ReadSavedState(other, *store_).status();
  EXPECT_EQ(foreign.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(foreign.message()), HasSubstr("berlin"));
  const optim::Layout other_layout = *optim::Layout::Create({{.name = "a", .shape = {6}}});
  EXPECT_EQ(ReadSavedState({"run-1", "berlin", &other_layout}, *store_).status().code(), absl::StatusCode::kDataLoss);
}

TEST_F(SavedStateTest, SavedRunsAreListedSetAsideAndRemoved) {
  ASSERT_EQ(WriteSavedState(Owner(), Example(), *store_), absl::OkStatus());
  ASSERT_EQ(WriteSavedState({"run-2", "berlin", &layout_}, Example(), *store_), absl::OkStatus());
  EXPECT_THAT(*SavedRuns(*store_), UnorderedElementsAre("run-1", "run-2"));
  EXPECT_THAT(*SetSavedStateAside("run-1", *store_), EndsWith("/run-1.state.damaged"));
  EXPECT_THAT(*SavedRuns(*store_), ElementsAre("run-2"));
  EXPECT_EQ(RemoveSavedState("run-2", *store_), absl::OkStatus());
  EXPECT_EQ(RemoveSavedState("run-2", *store_), absl::OkStatus()) << "once more changes nothing";
  EXPECT_THAT(*SavedRuns(*store_), IsEmpty());
}

TEST_F(SavedStateTest, WhatIsUnusedForAMonthIsRemovedAMonthAfterThatWasSeen) {
  const absl::Time now = absl::FromUnixSeconds(1'800'000'000);
  const auto write = [&](const std::string& run, absl::Duration age) {
    ASSERT_EQ(WriteSavedState({run, "berlin", &layout_}, Example(), *store_), absl::OkStatus());
    const timespec written = absl::ToTimespec(now - age);
    const timespec times[] = {written, written};
    ASSERT_EQ(utimensat(AT_FDCWD, directory_.File(run + ".state").c_str(), times, 0), 0);
  };
  write("a-recent", 29 * absl::Hours(24));
  write("b-old", 31 * absl::Hours(24));
  write("c-of-a-fast-clock", -absl::Hours(48));
  write("d-current", 300 * absl::Hours(24));
  EXPECT_THAT(*SavedRuns(*store_), ElementsAre("d-current", "b-old", "a-recent", "c-of-a-fast-clock"));
  EXPECT_THAT(*RemoveAbandonedStates("d-current", now, *store_), IsEmpty());
  const std::string mark = directory_.File("b-old.unused");
  const auto see = [&mark](absl::Time when) {
    const timespec seen = absl::ToTimespec(when);
    const timespec times[] = {seen, seen};
    return utimensat(AT_FDCWD, mark.c_str(), times, 0);
  };
  ASSERT_EQ(see(now - 29 * absl::Hours(24)), 0);
  EXPECT_THAT(*RemoveAbandonedStates("d-current", now, *store_), IsEmpty());
  ASSERT_EQ(see(now - 31 * absl::Hours(24)), 0);
  EXPECT_THAT(*RemoveAbandonedStates("d-current", now, *store_), ElementsAre("b-old"));
  EXPECT_THAT(*store_->Names(), UnorderedElementsAre("a-recent.state", "c-of-a-fast-clock.state", "d-current.state"));
}

TEST_F(SavedStateTest, RunAfterRunDoesNotFillTheDisk) {
  const absl::Time now = Clock::Real().WallNow();
  for (int i = 0; i < 20; ++i) {
    const std::string run = absl::StrCat("run-", 10 + i);
    ASSERT_EQ(WriteSavedState({run, "berlin", &layout_}, Example(), *store_), absl::OkStatus());
    const timespec written = absl::ToTimespec(now - absl::Hours(100 - i));
    const timespec times[] = {written, written};
    ASSERT_EQ(utimensat(AT_FDCWD, directory_.File(run + ".state").c_str(), times, 0), 0);
  }
  EXPECT_THAT(*RemoveAbandonedStates("run-11", now, *store_), ElementsAre("run-10", "run-12", "run-13"));
  EXPECT_EQ(SavedRuns(*store_)->size(), 17U);
  EXPECT_THAT(*RemoveAbandonedStates("run-11", now, *store_), IsEmpty());
}

TEST_F(SavedStateTest, AClockThatIsWrongForAWhileRemovesNothing) {
  ASSERT_EQ(WriteSavedState(Owner(), Example(), *store_), absl::OkStatus());
  const absl::Time now = Clock::Real().WallNow();
  EXPECT_THAT(*RemoveAbandonedStates("other", now + 1000 * absl::Hours(24), *store_), IsEmpty());
  EXPECT_TRUE(store_->Exists("run-1.unused"));
  EXPECT_THAT(*RemoveAbandonedStates("other", now, *store_), IsEmpty());
  EXPECT_FALSE(store_->Exists("run-1.unused")) << "it is in use after all";
  EXPECT_THAT(*SavedRuns(*store_), ElementsAre("run-1"));
}

TEST(TrainingRunRestartTest, AKillAfterTheWriteLeavesTheSameUpdatePending) {
  for (const absl::string_view mode : kModes) {
    const std::vector<std::string> expected = Undisturbed(mode);
    const TestFolder directory;
    Site site(mode, directory.path());
    EXPECT_FALSE(site.Start().has_value());
    for (uint64_t round = 1; round <= kRounds; ++round) {
      EXPECT_EQ(*site.Train(round)->payload, expected[round - 1]) << mode << " round " << round;
      const std::optional<PendingUpdate> pending = site.Start();
      ASSERT_TRUE(pending.has_value()) << mode << " round " << round;
      EXPECT_EQ(pending->round, round);
      EXPECT_EQ(pending->base_hash, HashOf(round - 1));
      EXPECT_EQ(*pending->update.payload, expected[round - 1]);
      EXPECT_EQ(pending->update.sha256, DigestBytes(Sha256(expected[round - 1])));
      EXPECT_EQ(pending->update.report.train_loss(), 1.5f);
      site.Settle(FateOf(round));
    }
  }
}

TEST(TrainingRunRestartTest, AKillAfterTheReceiptIsSettledAgainByThePlan) {
  for (const absl::string_view mode : kModes) {
    const std::vector<std::string> expected = Undisturbed(mode);
    const TestFolder directory;
    Site site(mode, directory.path());
    for (uint64_t round = 1; round <= kRounds; ++round) {
      EXPECT_EQ(*site.Train(round)->payload, expected[round - 1]) << mode << " round " << round;
      site.Settle(FateOf(round));
      ASSERT_TRUE(site.Start().has_value());
      site.Settle(FateOf(round));
    }
  }
}

TEST(TrainingRunRestartTest, AKillInTheMiddleOfTrainingTrainsTheSameUpdateAgain) {
  for (const absl::string_view mode : kModes) {
    const std::vector<std::string> expected = Undisturbed(mode);
    const TestFolder directory;
    Site site(mode, directory.path());
    for (uint64_t round = 1; round <= kRounds; ++round) {
      // Everything that this round did to the replica, but not to the disk.
      std::string before;
      const std::string file = directory.File("run-1.state");
      const bool saved = round > 1;
      if (saved) {
        before = ReadFile(file, 1 << 20).value();
      }
      EXPECT_TRUE(site.Train(round).ok());
      if (saved) {
        ASSERT_TRUE(WriteFileAtomically(file, before).ok());
      } else {
        ASSERT_EQ(std::remove(file.c_str()), 0);
      }
      site.Start();
      site.Settle(FateOf(round - 1));  // nothing is pending in round 1
      EXPECT_EQ(*site.Train(round)->payload, expected[round - 1]) << mode << " round " << round;
      site.Settle(FateOf(round));
    }
  }
}

TEST(TrainingRunRestartTest, ARoundWithoutAnUpdateIsNotForgotten) {
  std::vector<std::string> payloads[2];
  for (const bool killed : {false, true}) {
    const TestFolder directory;
    Site site("local", directory.path());
    for (uint64_t round = 1; round <= 3; ++round) {
      RememberingTrainer::fail = round == 2;
      const absl::StatusOr<TrainedUpdate> update = site.Train(round);
      RememberingTrainer::fail = false;
      ASSERT_EQ(update.ok(), round != 2) << update.status();
      if (update.ok()) {
        payloads[killed].push_back(*update->payload);
      }
      if (killed) {
        EXPECT_EQ(site.Start().has_value(), round != 2);
      }
      site.Settle(UpdateFate::kIncluded);
    }
  }
  EXPECT_EQ(payloads[0], payloads[1]);
}

TEST(TrainingRunRestartTest, ADamagedFileCostsTheResidualAndIsKeptForPeople) {
  const std::vector<std::string> expected = Undisturbed("distro");
  const TestFolder directory;
  Site site("distro", directory.path());
  ASSERT_TRUE(site.Train(1).ok());
  const std::string whole = ReadFile(directory.File("run-1.state"), 1 << 20).value();
  ASSERT_TRUE(WriteFileAtomically(directory.File("run-1.state"), whole.substr(0, whole.size() - 1)).ok());
  EXPECT_FALSE(site.Start().has_value());
  EXPECT_EQ(ReadFile(directory.File("run-1.state.damaged"), 1 << 20).value(), whole.substr(0, whole.size() - 1));
  EXPECT_EQ(*site.Train(1)->payload, expected[0]) << "from an empty residual";
}

TEST(TrainingRunRestartTest, AFolderThatCannotBeWrittenEndsTheWorkerBeforeAnythingIsSent) {
  const TestFolder directory;
  Site site("distro", directory.path());
  ASSERT_EQ(mkdir(directory.File("run-1.state").c_str(), 0700), 0);  // in the way of the rename
  const absl::Status status = site.Train(1).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kAborted);
  EXPECT_EQ(ExitCodeOf(status), ExitCode::kStorage);
  EXPECT_THAT(std::string(status.message()), HasSubstr("run-1.state"));
}

}  // namespace
}  // namespace tributary::worker
