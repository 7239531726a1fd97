// recovery.cc, and what the coordinator makes of it: crashes at every write of the journal, and damage.
#include "coordinator/run/run_host.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "common/checksum.h"
#include "common/exit_codes.h"
#include "common/files.h"
#include "coordinator/journal/open_journal.h"
#include "coordinator/journal/updates_of.h"
#include "optim/snapshot.h"
#include "tests/coordinator/federation.h"

namespace tributary::coordinator {
namespace {

using ::testing::HasSubstr;

std::string Hex(const std::string& hash) {
  Digest digest{};
  std::copy_n(hash.begin(), std::min(hash.size(), digest.size()), digest.begin());
  return DigestHex(digest);
}

struct Outcome {
  std::string hash;
  int writes = 0;
};

// With a small `max_inline`, updates and commits of modes that send every value are files.
struct Kind {
  const char* name;
  const char* mode;
  uint64_t max_inline = 262144;
  v1::LogConfig::Keep keep = v1::LogConfig::ALL;
};

// Runs with a fault at one write of the journal, restarts after it, and runs to the end.
Outcome RunWithFault(const Kind& kind, int fail_at, FaultyJournal::Fault fault) {
  SCOPED_TRACE(
      absl::StrCat(kind.mode, ": fault at write ", fail_at, fault == FaultyJournal::Fault::kNotWritten ? " (not written)" : " (written)"));
  Federation federation(3, /*snapshot_every=*/2, kind.max_inline);
  federation.config.mutable_log()->set_keep(kind.keep);
  v1::RunSpec spec = MakeSpec("toy", 5, 3, kind.mode, "evaluation: {every: 2}");
  if (spec.optimizer().has_local_time()) {
    // So large that the bound on the updates that sites invent depends on how many steps they are scaled to.
    spec.mutable_optimizer()->mutable_learning_rate()->set_peak(0.1);
    TellCapabilities(federation);
  }
  EXPECT_TRUE(federation.Restart(fail_at, fault).ok());
  if (!federation.coordinator().SubmitRun(spec, "anna").ok() || !federation.alive()) {
    EXPECT_TRUE(federation.Restart().ok());
    // A submission that was not acknowledged is either there as a whole or failed; it never blocks another.
    const absl::StatusOr<v1::RunStatus> there = federation.coordinator().GetRun("toy");
    if (!there.ok() || there->state() == v1::FAILED) {
      Submit(federation, spec);
    }
  }
  federation.ConnectAll();
  if (!federation.alive()) {
    EXPECT_TRUE(absl::IsResourceExhausted(federation.fatal)) << federation.fatal;
    const absl::Status restarted = federation.Restart();
    EXPECT_TRUE(restarted.ok()) << restarted;
    if (!restarted.ok()) {
      return {};
    }
    const std::string run_id = federation.Status("toy").run_id();
    std::map<std::pair<std::string, uint64_t>, int> held;
    if (const auto open = federation.journal().OpenRound(run_id); open.ok() && open->has_value()) {
      const absl::StatusOr<std::vector<JournaledUpdate>> updates = UpdatesOf(federation.journal(), run_id, (*open)->round);
      for (int i = 0; updates.ok() && i < 3; ++i) {
        for (const JournaledUpdate& update : *updates) {
          if (update.site == federation.site(i).name()) {
            held[{update.site, (*open)->round}] = federation.site(i).updates_sent[(*open)->round];
          }
        }
      }
    }
    federation.ConnectAll();
    for (int i = 0; i < 3; ++i) {
      for (const auto& [key, times] : held) {
        if (key.first == federation.site(i).name()) {
          EXPECT_EQ(federation.site(i).updates_sent[key.second], times) << "an accepted update was asked for again";
        }
      }
    }
  }
  federation.RunToEnd("toy");
  const v1::RunStatus status = federation.Status("toy");
  EXPECT_EQ(status.state(), v1::FINISHED) << status.reason();
  EXPECT_EQ(status.last_round().included(), 3u);
  Outcome outcome{CommonHash(federation, "toy"), federation.journal().writes()};
  for (int i = 0; i < 3; ++i) {
    EXPECT_FALSE(federation.site(i).pending()) << "every update has its receipt";
  }
  const uint64_t pruned = *federation.journal().PrunedThrough(status.run_id());
  EXPECT_EQ(pruned, kind.keep == v1::LogConfig::ALL ? 0u
                    : kind.max_inline == 16         ? 4u
                                                    : 5u)
      << "snapshots of rounds 2, 4 and 5, of which the last is kept; a long commit that was just announced stays";
  for (uint64_t round = pruned == 0 ? 0 : 5; round <= 5; ++round) {
    v1::DownloadRequest request;
    request.set_run_id(status.run_id());
    request.set_state_at_round(round);
    EXPECT_TRUE(federation.coordinator().OpenDownload(request, std::nullopt).ok()) << "round " << round << " cannot be exported";
  }
  return outcome;
}

class CrashEverywhere : public ::testing::TestWithParam<Kind> {};

TEST_P(CrashEverywhere, AtNoWriteDoesACrashChangeTheModel) {
  const Outcome undisturbed = RunWithFault(GetParam(), -1, FaultyJournal::Fault::kNotWritten);
  ASSERT_GT(undisturbed.writes, 20);
  for (int write = 0; write < undisturbed.writes; ++write) {
    for (const auto fault : {FaultyJournal::Fault::kNotWritten, FaultyJournal::Fault::kWrittenButNotAcknowledged}) {
      const Outcome outcome = RunWithFault(GetParam(), write, fault);
      ASSERT_EQ(Hex(outcome.hash), Hex(undisturbed.hash)) << "fault at write " << write;
      if (::testing::Test::HasFailure()) {
        return;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Modes, CrashEverywhere,
                         ::testing::Values(Kind{"distro", "distro"}, Kind{"distro_pruned", "distro", 262144, v1::LogConfig::SINCE_SNAPSHOT},
                                           Kind{"local", "local"},
                                           Kind{"fedavg_by_time", "fedavg, local_steps: auto, local_time: 1s, norm_bound: 3"},
                                           Kind{"allreduce", "allreduce"},
                                           Kind{"allreduce_in_files_pruned", "allreduce", 16, v1::LogConfig::SINCE_SNAPSHOT},
                                           Kind{"diloco_by_samples_in_files", "diloco, weighting: samples", 16}),
                         [](const auto& info) { return info.param.name; });

TEST(Recovery, KilledAgainAndAgainItStillFinishesWithTheSameModel) {
  std::string expected;
  for (const bool killed : {false, true}) {
    Federation federation(3, 3);
    Submit(federation, MakeSpec("toy", 8, 3));
    if (killed) {
      for (int write = 3; federation.Status("toy").state() != v1::FINISHED; write += 2) {
        ASSERT_LT(write, 200);
        ASSERT_TRUE(federation.Restart(write % 7 + 2, FaultyJournal::Fault::kWrittenButNotAcknowledged).ok());
        federation.ConnectAll();
        if (!federation.alive()) {
          ASSERT_TRUE(federation.Restart().ok());
        }
      }
    } else {
      federation.ConnectAll();
      expected = federation.Status("toy").state_hash();
    }
    EXPECT_EQ(federation.Status("toy").state_hash(), expected);
  }
}

// Sites take 10, 20 and 30 steps, and one more in each round.
TEST(Recovery, ARunWhoseSitesCountTheirStepsScalesEveryRoundAsItWouldHaveWithoutARestart) {
  Federation federation(3, 3);
  const std::string run = Submit(federation, MakeSpec("toy", 5, 3, "local, local_steps: auto, local_time: 1s"));
  ConnectAllOfThisRelease(federation);
  for (int write = 3; federation.Status("toy").state() != v1::FINISHED; write += 2) {
    ASSERT_LT(write, 200);
    ASSERT_TRUE(federation.Restart(write % 7 + 2, FaultyJournal::Fault::kWrittenButNotAcknowledged).ok());
    federation.ConnectAll();
    if (!federation.alive()) {
      ASSERT_TRUE(federation.Restart().ok());
    }
  }
  for (const v1::RoundStart& start : federation.site(0).starts) {
    EXPECT_EQ(start.local_steps(), start.round() == 1 ? 2 : 19 + start.round()) << "round " << start.round();
  }
  EXPECT_EQ(federation.site(0).starts.back().round(), 5u);
  const v1::RunHistory history = federation.coordinator().GetRunHistory(run).value();
  for (const v1::RoundRecord& record : history.rounds()) {
    EXPECT_EQ(record.local_steps(), record.round() == 0 ? 0 : 20 + record.round()) << "round " << record.round();
  }
}

TEST(Recovery, AWorkerThatLostEverythingComesBackToTheSameModel) {
  Federation federation(3);
  const std::string run = Submit(federation, MakeSpec("toy", 6, 3));
  federation.site(2).silent = true;
  federation.ConnectAll();
  EXPECT_THAT(federation.Status(run).reason(), HasSubstr("waiting for site-2"));
  federation.site(2).Disconnect();
  federation.site(2).Forget();
  federation.site(2).silent = false;
  federation.RunToEnd(run);
  EXPECT_EQ(federation.Status(run).state(), v1::FINISHED);
  CommonHash(federation, run);
  EXPECT_EQ(federation.Status(run).last_round().included(), 3u);
}

TEST(Recovery, NothingIsAcknowledgedThatIsNotDurable) {
  Federation federation(2);
  Submit(federation, MakeSpec("toy", 3, 2));
  // Writes after this restart: nothing on opening, round start, run state, first update.
  ASSERT_TRUE(federation.Restart(2, FaultyJournal::Fault::kNotWritten).ok());
  federation.ConnectAll();
  EXPECT_TRUE(absl::IsResourceExhausted(federation.fatal)) << federation.fatal;
  EXPECT_EQ(ExitCodeOf(federation.fatal), ExitCode::kStorage);
  EXPECT_TRUE(federation.site(0).receipts.empty());
  v1::UploadHeader header;
  EXPECT_TRUE(absl::IsUnavailable(federation.coordinator().CheckUpload("site-0", header).status()));
}

TEST(Recovery, ADamagedSnapshotIsRefusedWithWhatToDo) {
  Federation federation(2);
  Submit(federation, MakeSpec("toy", 50, 2));
  federation.site(1).alter = [](std::string& payload, uint64_t round) {
    if (round == 3) {
      payload.clear();  // the round stays open
    }
  };
  federation.ConnectAll();
  federation.Crash();
  const std::string newest = federation.NewestSnapshotFile();
  std::string bytes = *ReadFile(newest, 1 << 20);
  bytes[bytes.size() / 2] ^= 1;
  ASSERT_TRUE(WriteFileAtomically(newest, bytes).ok());
  const absl::Status status = federation.Restart();
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
  EXPECT_EQ(ExitCodeOf(status), ExitCode::kDamaged);
  EXPECT_THAT(std::string(status.message()), HasSubstr(newest));
  EXPECT_THAT(std::string(status.message()), HasSubstr("move only this file away"));
  EXPECT_EQ(*ReadFile(newest, 1 << 20), bytes) << "left as it was";

  std::filesystem::rename(newest, newest + ".damaged-aside");
  ASSERT_TRUE(federation.Restart().ok());
  EXPECT_EQ(federation.Status("toy").round(), 2u);
  federation.site(1).alter = nullptr;
  federation.ConnectAll();
  EXPECT_EQ(federation.Status("toy").state(), v1::FINISHED);
  CommonHash(federation, "toy");
}

TEST(Recovery, ADamagedAggregatorFileIsRefused) {
  Federation federation(2);
  Submit(federation, MakeSpec("toy", 50, 2));
  federation.site(1).silent = true;
  federation.ConnectAll();
  federation.Advance(absl::Seconds(200));
  federation.Crash();
  for (const auto& entry : std::filesystem::directory_iterator(federation.folder() + "/snapshots")) {
    if (entry.path().extension() == ".aggregator") {
      std::string bytes = *ReadFile(entry.path().string(), 1 << 20);
      bytes[bytes.size() / 2] ^= 1;
      ASSERT_TRUE(WriteFileAtomically(entry.path().string(), bytes).ok());
    }
  }
  const absl::Status status = federation.Restart();
  EXPECT_EQ(ExitCodeOf(status), ExitCode::kDamaged) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(".aggregator is not the file that the journal names"));
}

TEST(Recovery, AStateThatTheCommitsDoNotLeadToIsFoundAtTheStart) {
  Federation federation(2, 100);
  Submit(federation, MakeSpec("toy", 50, 2));
  federation.site(1).alter = [](std::string& payload, uint64_t round) {
    if (round == 4) {
      payload.clear();
    }
  };
  federation.ConnectAll();
  ASSERT_EQ(federation.Status("toy").round(), 3u);
  // The parameters themselves, under a snapshot that fits its own checksum and the journal's hash no more.
  const std::string run = federation.Status("toy").run_id();
  federation.Crash();
  const std::string file = federation.NewestSnapshotFile();
  const absl::StatusOr<RunModel> model = RunModel::Of(MakeSpec("toy", 50, 2));
  absl::StatusOr<optim::ReplicaState> state = optim::DecodeSnapshot(*ReadFile(file, 1 << 20), model->layout, 0);
  ASSERT_TRUE(state.ok());
  state->theta[5] += 1;
  ASSERT_TRUE(WriteFileAtomically(file, optim::EncodeSnapshot(model->layout, *state)).ok());
  const absl::Status status = federation.Restart();
  EXPECT_EQ(ExitCodeOf(status), ExitCode::kDamaged) << status;
}

TEST(Recovery, APastStateIsHadFromAnOlderSnapshotIfTheNewestFileIsGone) {
  Federation federation(2);
  const std::string run = Submit(federation, MakeSpec("toy", 5, 2));
  federation.ConnectAll();
  ASSERT_EQ(federation.Status(run).state(), v1::FINISHED);
  v1::DownloadRequest request;
  request.set_run_id(run);
  request.set_state_at_round(5);
  const std::string before = *ReadAll(**federation.coordinator().OpenDownload(request, std::nullopt));
  ASSERT_TRUE(std::filesystem::remove(federation.NewestSnapshotFile()));
  const absl::StatusOr<SharedBytes> after = federation.coordinator().OpenDownload(request, std::nullopt);
  ASSERT_TRUE(after.ok()) << after.status();
  EXPECT_EQ(*ReadAll(**after), before);
}

// A round that is opened again for other sites, and more of them, sums what it had accepted in other units.
TEST(Recovery, ARoundThatWasOpenedAgainForOtherSitesMakesTheSameCommitAfterARestart) {
  Federation federation(8, 100);
  const std::string run = Submit(federation, MakeSpec("toy", 50, 4));
  for (const int silent : {1, 2, 3, 4}) {
    federation.site(silent).silent = true;
  }
  for (int i = 0; i < 8; ++i) {
    federation.site(i).Connect();
    federation.Settle();
  }
  ASSERT_EQ(federation.journal().OpenRound(run)->value().members.size(), 4u);
  ASSERT_EQ(UpdatesOf(federation.journal(), run, 1)->size(), 1u);
  for (const int leaving : {1, 2, 3}) {
    v1::WorkerMessage message;
    message.mutable_leave()->set_reason("maintenance");
    federation.site(leaving).Say(message);
    federation.site(leaving).Disconnect();
  }
  federation.Settle();
  EXPECT_THAT(federation.journal().OpenRound(run)->value().members,
              ::testing::ElementsAre("site-0", "site-4", "site-5", "site-6", "site-7"));
  federation.Advance(absl::Seconds(61));
  ASSERT_EQ(federation.Status(run).round(), 1u);
  const JournaledCommit commit = *federation.journal().Commit(run, 1);
  EXPECT_EQ(commit.included, std::vector<std::string>({"site-0", "site-5", "site-6", "site-7"}));
  federation.Crash();
  ASSERT_TRUE(federation.Restart().ok());
  EXPECT_EQ(federation.Status(run).state_hash(), DigestBytes(commit.state_hash));
}

// Updates are in the log until a snapshot, and are more than its commits.
TEST(Recovery, BytesOfUpdatesMakeASnapshotDueTooAlsoAfterARestart) {
  Federation federation(2, 1000);
  const std::string run = Submit(federation, MakeSpec("toy", 50, 2));
  federation.site(1).alter = [](std::string& payload, uint64_t round) {
    if (round == 4) {
      payload.clear();
    }
  };
  federation.ConnectAll();
  ASSERT_EQ(federation.Status(run).round(), 3u);
  uint64_t commits = 0;
  uint64_t updates = 0;
  for (uint64_t round = 1; round <= 3; ++round) {
    commits += federation.journal().Commit(run, round)->record.size();
  }
  federation.Crash();
  const auto journal = OpenSqliteJournal(federation.folder() + "/journal.db");
  const auto files = OpenFolder(federation.folder() + "/snapshots");
  ASSERT_TRUE(journal.ok() && files.ok());
  for (uint64_t round = 1; round <= 4; ++round) {
    const absl::Status visited = (*journal)->VisitUpdates(run, round, [&updates](const JournaledUpdate& update) {
      updates += update.payload.size();
      return absl::OkStatus();
    });
    ASSERT_TRUE(visited.ok()) << visited;
  }
  SnapshotStore store(files->get());
  v1::SnapshotConfig config;
  config.set_every(1000);
  for (const bool enough : {false, true}) {
    config.set_log(commits + updates + (enough ? 0 : 1));
    const auto host = RunHost::Open((*journal)->Runs()->front(), {config, {}}, journal->get(), &store, &Clock::Real());
    ASSERT_TRUE(host.ok()) << host.status();
    EXPECT_EQ((*host)->SnapshotDue(), enough);
  }
}

TEST(Recovery, ASnapshotIsDueByRoundsOrByBytesOfTheLog) {
  for (const bool by_bytes : {false, true}) {
    Federation federation(2, by_bytes ? 1000 : 3);
    if (by_bytes) {
      federation.config.mutable_snapshots()->set_log(1);
      ASSERT_TRUE(federation.Restart().ok());
    }
    const std::string run = Submit(federation, MakeSpec("toy", 50, 2));
    federation.site(1).alter = [](std::string& payload, uint64_t round) {
      if (round == 6) {
        payload.clear();  // five rounds, and no end
      }
    };
    federation.ConnectAll();
    ASSERT_EQ(federation.Status(run).round(), 5u);
    EXPECT_EQ(federation.journal().Snapshots(run)->back().round, by_bytes ? 5u : 3u);
  }
}

// A second passes whenever it is looked at.
class TickingClock final : public Clock {
 public:
  absl::Time Now() const override { return now_ += absl::Seconds(1); }
  absl::Time WallNow() const override { return Now(); }

 private:
  mutable absl::Time now_ = absl::UnixEpoch();
};

TEST(Recovery, ASnapshotIsDueWhenReplayWouldTakeTooLong) {
  Federation federation(2, 1000);
  const std::string run = Submit(federation, MakeSpec("toy", 50, 2));
  federation.site(1).alter = [](std::string& payload, uint64_t round) {
    if (round == 6) {
      payload.clear();
    }
  };
  federation.ConnectAll();
  ASSERT_EQ(federation.Status(run).round(), 5u);
  federation.Crash();
  const auto journal = OpenSqliteJournal(federation.folder() + "/journal.db");
  const auto files = OpenFolder(federation.folder() + "/snapshots");
  ASSERT_TRUE(journal.ok() && files.ok());
  SnapshotStore store(files->get());
  const TickingClock clock;
  v1::SnapshotConfig config;
  config.set_every(1000);
  config.set_keep(1);
  config.mutable_replay()->set_seconds(1000);
  const absl::StatusOr<std::vector<JournaledRun>> runs = (*journal)->Runs();
  EXPECT_FALSE((*RunHost::Open(runs->front(), {config, {}}, journal->get(), &store, &clock))->SnapshotDue());
  config.mutable_replay()->set_seconds(5);
  const absl::StatusOr<std::unique_ptr<RunHost>> host = RunHost::Open(runs->front(), {config, {}}, journal->get(), &store, &clock);
  ASSERT_TRUE(host.ok()) << host.status();
  EXPECT_TRUE((*host)->SnapshotDue()) << (*host)->replay_cost();
}

TEST(Recovery, ACommitThatWasTamperedWithIsFoundAtTheStart) {
  Federation federation(2, 100);
  Submit(federation, MakeSpec("toy", 50, 2));
  federation.site(1).alter = [](std::string& payload, uint64_t round) {
    if (round == 4) {
      payload.clear();
    }
  };
  federation.ConnectAll();
  ASSERT_EQ(federation.Status("toy").round(), 3u);
  federation.journal().tamper = [](uint64_t round, JournaledCommit& commit) {
    if (round == 2) {
      commit.record.back() ^= 1;
    }
  };
  const absl::Status status = federation.Restart();
  EXPECT_EQ(ExitCodeOf(status), ExitCode::kDamaged);
  EXPECT_THAT(std::string(status.message()), HasSubstr("commit 2 breaks the hash chain"));
}

}  // namespace
}  // namespace tributary::coordinator
