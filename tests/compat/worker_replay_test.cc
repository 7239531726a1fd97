// This worker is told what the coordinator of another release told its workers, and must say what they said. It does its work at once:
// what it says is compared in order, not in time.
#include <gtest/gtest.h>

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <utility>
#include <variant>

#include "common/overloaded.h"
#include "sim/sim_disk.h"
#include "sim/synthetic_trainer.h"
#include "tests/compat/recording_reader.h"
#include "worker/saved_state.h"
#include "worker/training_run.h"
#include "worker/worker_engine.h"

namespace tributary::sim {
namespace {

namespace action = worker::action;
namespace event = worker::event;

// What a release may say in its own way.
const std::vector<std::string> kDiffering = {"hello.software_version", "hello.newest_protocol_version", "hello.capabilities",
                                             "update.report.compute_seconds", "update.report.encode_seconds"};
const std::vector<std::string> kDifferingInUploads = {"report.compute_seconds", "report.encode_seconds"};

class WorkerReplay : public ::testing::TestWithParam<std::string> {
 protected:
  void Play(const std::string& file) {
    const Recording recording = ReadRecording(file);
    config_ = FromJson<v1::WorkerConfig>(recording.config);
    v1::ConsentConfig& consent = *config_.mutable_consent();
    consent.add_runs("*");
    consent.add_models("mlp");
    consent.set_max_local_steps(1000);
    consent.set_max_rounds(1000);
    consent.set_max_parameters(1000);
    consent.set_max_batch_size(65536);
    consent.set_max_evaluation_batches(1000000);
    consent.set_allow_unclipped(true);
    consent.set_allow_small_gradients(true);
    consent.set_allow_initial_weights(true);
    config_.set_threads(1);
    config_.set_persist(v1::EVERY_ROUND);
    for (const RecordedLine& line : recording.lines) {
      Expect(line);
      world_.After(line.at - world_.Elapsed(), "recorded", 0, [this, line] { Tell(line); });
    }
    while (world_.Elapsed() < recording.lines.back().at && world_.Step()) {
    }
    for (size_t i = 0; i < std::min(expected_.size(), said_.size()); ++i) {
      ASSERT_EQ(said_[i], expected_[i]) << file << ", message " << i;
    }
    EXPECT_EQ(said_.size(), expected_.size()) << file;
    EXPECT_EQ(absl::BytesToHexString(last_hash_), recording.hash) << file;
  }

 private:
  struct Process {
    explicit Process(worker::WorkerEngineOptions options) : engine(std::move(options)) {}
    worker::WorkerEngine engine;
    std::unique_ptr<worker::TrainingRun> run;
    std::deque<std::function<void()>> pieces;
    bool busy = false;
  };

  // Sessions and transfers are numbered in the order in which they begin; the record's numbers and ours may differ.
  void Expect(const RecordedLine& line) {
    if (line.verb == "says") {
      expected_.push_back(absl::StrCat("says ", Comparable(FromJson<v1::WorkerMessage>(line.json), kDiffering)));
    } else if (line.verb == "opens" || line.verb == "closes" || line.verb == "cancels") {
      expected_.push_back(line.verb);
    } else if (line.verb == "uploads") {
      expected_.push_back(
          absl::StrCat("uploads ", line.words.at(0), " ", Comparable(FromJson<v1::UploadHeader>(line.json), kDifferingInUploads)));
    } else if (line.verb == "downloads") {
      expected_.push_back(absl::StrCat("downloads ", line.json));
    }
  }

  void Tell(const RecordedLine& line) {
    if (line.verb == "starts") {
      Start();
    } else if (line.verb == "is") {  // killed
      process_.reset();
      ++life_;
    } else if (line.verb == "hears") {
      Handle(event::MessageArrived{session_, FromJson<v1::CoordinatorMessage>(line.json)});
    } else if (line.verb == "ended") {
      Handle(event::SessionClosed{session_, absl::UnavailableError("as recorded")});
    } else if (line.verb == "uploaded") {
      ASSERT_EQ(line.words.at(0), "OK");
      Handle(event::Uploaded{upload_, absl::OkStatus()});
    } else if (line.verb == "downloaded") {
      ASSERT_EQ(line.words.at(0), "OK");
      Handle(event::Downloaded{download_, FromBase64(line.words.at(2))});
    }
  }

  void Start() {
    worker::WorkerEngineOptions options;
    options.consent = config_.consent();
    options.coordinator = "coordinator:8443";
    options.software_version = TRIBUTARY_VERSION;
    // Of all waits the shortest, so that a session is open when the record has its first message.
    options.random = [] { return 0.999; };
    const absl::StatusOr<std::vector<std::string>> saved = worker::SavedRuns(*store_);
    ASSERT_TRUE(saved.ok()) << saved.status();
    options.saved_runs = *saved;
    process_ = std::make_unique<Process>(std::move(options));
    Handle(event::Tick{});
  }

  void Handle(worker::Event event) {
    if (process_ == nullptr) {
      return;
    }
    for (worker::Action& action : process_->engine.Handle(std::move(event), world_.Now())) {
      CarryOut(action);
    }
    if (process_->engine.held().has_value()) {
      last_hash_ = process_->engine.held()->hash;
    }
    world_.After(process_->engine.NextWakeup() - world_.Now(), "tick", 0, [this, life = life_] {
      if (life == life_ && process_->engine.NextWakeup() <= world_.Now()) {
        Handle(event::Tick{});
      }
    });
  }

  void Do(std::function<void()> work) {
    process_->pieces.push_back(std::move(work));
    Pump();
  }

  // One piece at a time, as on the training thread.
  void Pump() {
    if (process_->busy || process_->pieces.empty()) {
      return;
    }
    process_->busy = true;
    world_.After(absl::Microseconds(1), "work", 0, [this, life = life_] {
      if (life != life_) {
        return;
      }
      const auto work = std::move(process_->pieces.front());
      process_->pieces.pop_front();
      process_->busy = false;
      work();
      Pump();
    });
  }

  void CarryOut(worker::Action& action) {
    std::visit(
        Overloaded{
            [&](action::OpenSession& open) {
              session_ = open.session;
              said_.push_back("opens");
            },
            [&](action::CloseSession&) { said_.push_back("closes"); },
            [&](action::Send& send) { said_.push_back(absl::StrCat("says ", Comparable(send.message, kDiffering))); },
            [&](action::PrepareRun& prepare) {
              Do([this, prepare = std::move(prepare)] {
                process_->run.reset();
                absl::StatusOr<std::unique_ptr<worker::TrainingRun>> run = worker::TrainingRun::Create(
                    config_, prepare.offer, {.make_trainer = SyntheticTrainers(&mischief_), .clock = &world_, .store = store_.get()});
                ASSERT_TRUE(run.ok()) << run.status();
                process_->run = *std::move(run);
                Handle(event::RunPrepared{prepare.work, absl::OkStatus(), process_->run->TakePending()});
              });
            },
            [&](action::ReleaseRun&) { Do([this] { process_->run.reset(); }); },
            [&](action::InitializeState& initialize) {
              Do([this, work = initialize.work] { Handle(event::SnapshotLoaded{work, process_->run->InitializeFromSeed()}); });
            },
            [&](action::LoadSnapshot& load) {
              Do([this, load = std::move(load)] { Handle(event::SnapshotLoaded{load.work, process_->run->LoadSnapshot(load.bytes)}); });
            },
            [&](action::ApplyCommits& apply) {
              Do([this, apply = std::move(apply)] {
                event::CommitsApplied applied;
                applied.work = apply.work;
                applied.status = process_->run->ApplyCommits(apply.records, applied.held);
                Handle(std::move(applied));
              });
            },
            [&](action::Settle& settle) { Do([this, fate = settle.fate] { process_->run->Settle(fate); }); },
            [&](action::Train& train) {
              Do([this, train = std::move(train)] { Handle(event::Trained{train.work, process_->run->Train(train.start)}); });
            },
            [&](action::ComputeAhead& ahead) {
              Do([this, ahead = std::move(ahead)] {
                process_->run->ComputeAhead(ahead.start);
                Handle(event::ComputedAhead{ahead.work});
              });
            },
            [&](action::Evaluate& evaluate) {
              Do([this, work = evaluate.work] { Handle(event::Evaluated{work, process_->run->Evaluate()}); });
            },
            [&](action::Download& download) {
              download_ = download.transfer;
              said_.push_back(absl::StrCat("downloads ", RecordedJson(download.request)));
            },
            [&](action::Upload& upload) {
              upload_ = upload.transfer;
              said_.push_back(
                  absl::StrCat("uploads ", absl::Base64Escape(*upload.payload), " ", Comparable(upload.header, kDifferingInUploads)));
            },
            [&](action::CancelTransfer&) { said_.push_back("cancels"); },
            [](action::Count&) {},
            [](action::CountMismatch&) {},
            [](action::Note&) {},
            [](action::Exit& exit) { ADD_FAILURE() << "the worker ends: " << exit.status; },
        },
        action.what);
  }

  World world_{1};
  SimDisk disk_{&world_, absl::StrCat("replay ", GetParam())};
  std::unique_ptr<FileStore> store_ = disk_.OpenStore("state");
  Mischief mischief_;
  v1::WorkerConfig config_;
  std::unique_ptr<Process> process_;
  uint64_t life_ = 0;
  uint64_t session_ = 0;
  uint64_t upload_ = 0;
  uint64_t download_ = 0;
  std::string last_hash_;
  std::vector<std::string> expected_;
  std::vector<std::string> said_;
};

TEST_P(WorkerReplay, SaysWhatTheSteadySiteSaid) {
  Play(GetParam() + "/site-1.conversation");
}

TEST_P(WorkerReplay, SaysWhatTheSiteSaidThatLostItsSessionAndThenItsProcess) {
  Play(GetParam() + "/site-0.conversation");
}

INSTANTIATE_TEST_SUITE_P(Of, WorkerReplay, ::testing::ValuesIn(Recordings()), NameOfRecording);

}  // namespace
}  // namespace tributary::sim
