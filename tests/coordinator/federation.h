// A federation in one thread: the real Coordinator, journal and algebra with sites that train on invented gradients, under a simulated
// clock. Crashes and broken connections happen where a test says so.
#ifndef TRIBUTARY_TESTS_COORDINATOR_FEDERATION_H_
#define TRIBUTARY_TESTS_COORDINATOR_FEDERATION_H_

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/clock.h"
#include "coordinator/coordinator.h"
#include "coordinator/journal/journal.h"
#include "coordinator/run/run_log.h"
#include "coordinator/site_registry.h"
#include "optim/apply.h"
#include "optim/encoder.h"
#include "optim/replica_state.h"
#include "optim/state_hash.h"
#include "tests/common/test_folder.h"
#include "tests/coordinator/faulty_journal.h"

namespace tributary::coordinator {

// A run of an 8-16-4 perceptron. `more` are further lines of YAML. Norms are bounded only if `mode` says so: the sites invent updates that
// no optimiser makes.
v1::RunSpec MakeSpec(const std::string& name, uint64_t rounds, int min_workers, const std::string& mode = "distro",
                     const std::string& more = "");

class Federation;

// One site's worker: a replica, an encoder, and the worker's half of the conversation. It outlives its sessions and the coordinator.
class FakeSite {
 public:
  FakeSite(Federation* federation, std::string name, int number) : federation_(federation), name_(std::move(name)), number_(number) {
    samples = 100 * (static_cast<uint64_t>(number) + 1);
    local_steps = 10 * (static_cast<uint64_t>(number) + 1);
    secret = "secret of " + name_;
  }

  void Connect();
  void Disconnect();
  // Loses everything it holds, as a worker that was killed and whose disk is gone.
  void Forget();
  // Loses the model's state, as a worker that was killed: residual and pending update are in its state folder.
  void ForgetState() { state_.reset(); }
  // Handles what has arrived; false if nothing had.
  bool Pump();

  void Say(v1::WorkerMessage message);
  void SayHello();
  const std::string& name() const { return name_; }
  bool connected() const { return session_ != nullptr; }
  const std::optional<optim::ReplicaState>& state() const { return state_; }
  std::string StateHash() const;
  bool pending() const { return pending_.has_value(); }

  // What a test makes it do.
  bool silent = false;                                              // trains, but sends no update
  bool reports = true;                                              // its last state
  bool idle = false;                                                // does nothing about a plan
  std::string secret;                                               // empty: as workers of releases without one
  std::string refusal;                                              // not empty: refuses the run
  std::string columns_digest;                                       // that it tells
  std::function<void(v1::Hello& hello)> alter_hello;                // as workers of other releases
  std::function<void(std::string& payload, uint64_t round)> alter;  // what is sent, and only that
  // Local steps that it says it took in round r, where the run leaves that to it: this + r; made with 10 * (number + 1).
  uint64_t local_steps = 0;
  uint64_t samples = 0;     // that it says it has, in a run that weighs by them; made with 100 * (number + 1)
  double initial_loss = 3;  // validation loss of state[r] is initial_loss - .1 r
  std::function<void(uint64_t round, JournaledEvaluation& evaluation)> evaluate;  // instead
  bool withholds = false;                                                         // its evaluations
  bool evaluates_always = false;                                                  // whether it is asked or not

  // What happened.
  std::vector<v1::CoordinatorMessage> received;
  std::map<uint64_t, int> updates_sent;  // by round
  std::vector<v1::Receipt> receipts;
  std::vector<v1::SyncPlan> plans;
  std::vector<v1::RoundStart> starts;
  std::optional<v1::RunEnd> end;
  std::string refused_with;
  uint64_t bytes_downloaded = 0;
  absl::Status closed_with;

 private:
  // One stream; the coordinator keeps the pointer until it closes it or is told that it closed.
  struct Stream final : SessionSink {
    explicit Stream(FakeSite* owner) : site(owner) {}
    void Send(std::shared_ptr<const v1::CoordinatorMessage> message) override;
    void Close(const absl::Status& status) override;
    FakeSite* site;
    std::deque<std::shared_ptr<const v1::CoordinatorMessage>> inbox;
    bool closed = false;
  };
  struct Pending {
    uint64_t round = 0;
    std::string payload;
    std::string base_hash;
  };

  void Handle(const v1::CoordinatorMessage& message);
  void OnOffer(const v1::RunOffer& offer);
  void OnPlan(const v1::SyncPlan& plan);
  void OnStart(const v1::RoundStart& start);
  void OnCommit(const v1::Commit& commit);
  void Settle(uint64_t round, bool included);
  void SendPending(bool asked_to_evaluate);
  // Into an UpdateReport or a StateReport.
  template <typename Report>
  void AddEvaluation(Report& report);
  void Upload(v1::Update update);
  void SayReady();
  std::string Download(const v1::DownloadRequest& request);
  void Apply(const std::string& record);

  Federation* const federation_;
  const std::string name_;
  const int number_;
  std::string run_id_;
  std::unique_ptr<RunModel> model_;
  std::unique_ptr<optim::UpdateEncoder> encoder_;
  std::optional<optim::ReplicaState> state_;
  std::optional<Pending> pending_;
  std::vector<std::unique_ptr<Stream>> streams_;
  Stream* session_ = nullptr;
};

class Federation {
 public:
  // Starts the coordinator in an empty folder; sites are named site-0, site-1 and so on.
  explicit Federation(int sites, uint64_t snapshot_every = 2, uint64_t max_inline = 262144);
  ~Federation();

  // Kills the coordinator: nothing of it survives but its folder.
  void Crash();
  // Opens the folder again. The status of Coordinator::Create.
  absl::Status Restart();
  absl::Status Restart(int fail_at_write, FaultyJournal::Fault fault);

  // Puts one more into the registry.
  void AddSite(const std::string& name);
  void ConnectAll();
  // Handles messages and due timers until nothing is left to do at this moment.
  void Settle();
  void Advance(absl::Duration time);
  // Advances in steps until the run is over or `limit` has passed; dropped sites reconnect if `reconnect`.
  void RunToEnd(const std::string& run, absl::Duration limit = absl::Hours(1));

  Coordinator& coordinator() { return *coordinator_; }
  FaultyJournal& journal() { return *journal_; }
  FakeSite& site(int number) { return *sites_[number]; }
  int size() const { return static_cast<int>(sites_.size()); }
  bool alive() const { return coordinator_ != nullptr && fatal.ok(); }
  v1::RunStatus Status(const std::string& run);
  const std::string& folder() const { return folder_.path(); }

  // Full path.
  std::string NewestSnapshotFile() const;

  v1::CoordinatorConfig config;
  SiteRegistry registry{{}};
  CoordinatorMetrics* metrics = nullptr;                 // of the next Restart
  std::function<absl::StatusOr<MemoryLimits>()> memory;  // likewise
  SimulatedClock clock{absl::FromUnixSeconds(1767225600)};
  absl::Status fatal;  // what the coordinator reported
  std::vector<std::string> notified;

 private:
  struct Timer {
    absl::Time due;
    uint64_t number;
    std::function<void()> work;
  };

  // In memory: a simulated crash loses no page cache, and thousands of syncs take minutes.
  const TestFolder folder_{TemporaryDirectory::Medium::kMemory};
  std::vector<std::unique_ptr<FakeSite>> sites_;
  std::vector<Timer> timers_;
  uint64_t timers_made_ = 0;
  std::unique_ptr<FaultyJournal> journal_;
  std::unique_ptr<FileStore> snapshots_;
  std::unique_ptr<Coordinator> coordinator_;
};

// Submits the run, which must be accepted, and returns its id.
std::string Submit(Federation& federation, const v1::RunSpec& spec);
// Of every site: its hello says that it can do all that this release can.
void TellCapabilities(Federation& federation);
// All sites, each saying so.
void ConnectAllOfThisRelease(Federation& federation);
// The state hash that coordinator and sites have in common; fails the test if they differ.
std::string CommonHash(Federation& federation, const std::string& run);
v1::SiteStatus SiteOf(const v1::RunStatus& status, const std::string& name);
v1::WorkerMessage UpdateMessage(const std::string& run, uint64_t round, const std::string& base, const std::string& payload);

// Two good sites and site-2, which is told what to do by the test; round 1 is open and waits for site-2.
class OpenRound : public ::testing::Test {
 protected:
  OpenRound() {
    federation_.site(2).silent = true;
    run_ = Submit(federation_, MakeSpec("toy", 3, 3));
    federation_.ConnectAll();
    EXPECT_THAT(federation_.Status(run_).reason(), ::testing::HasSubstr("round 1: 2 of 3 updates in; waiting for site-2"));
  }
  void Send(uint64_t round, const std::string& base, const std::string& payload) {
    federation_.site(2).Say(UpdateMessage(run_, round, base, payload));
    federation_.Settle();
  }
  FakeSite& site() { return federation_.site(2); }

  Federation federation_{3};
  std::string run_;
};

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_TESTS_COORDINATOR_FEDERATION_H_
