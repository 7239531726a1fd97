// A coordinator of one site and one run, on the real algebra: enough of the protocol for a whole worker to train against, with faults where
// a test wants them.
#ifndef TRIBUTARY_TESTS_WORKER_MINI_COORDINATOR_H_
#define TRIBUTARY_TESTS_WORKER_MINI_COORDINATOR_H_

#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "optim/aggregator.h"
#include "optim/apply.h"
#include "optim/layout.h"
#include "optim/options.h"
#include "optim/replica_state.h"
#include "optim/state_hash.h"
#include "tests/worker/test_hub.h"
#include "tributary/v1/run.pb.h"

namespace tributary::worker {

// Thread-safe. Outlives the hubs that it serves.
class MiniCoordinator {
 public:
  struct Script {
    uint64_t max_inline = 1 << 20;
    uint32_t lease_ms = 30'000;
    // Weights other than the seed's, as if the worker's differed.
    bool other_weights = false;
    // Once each, at this round (0: never):
    uint64_t lose_update = 0;       // the session breaks when the update arrives, before it is taken in
    uint64_t lose_receipt = 0;      // the update is included and committed; then the session breaks before anything is said
    uint64_t close_without = 0;     // the round is committed empty when the update arrives; then the session breaks
    uint64_t wrong_commit = 0;      // the commit sent is not the one that was committed
    uint64_t drain = 0;             // instead of starting this round, Drain and the end of the session
    bool hold_first_round = false;  // starts round 1 and then takes no update until Release()
  };

  MiniCoordinator(v1::RunSpec spec, Script script);

  TestHub::Handlers Handlers();

  void Release();
  // The state that the log leads to.
  std::string state_hash() const;
  uint64_t round() const;
  // Payloads that arrived for a round, inline or uploaded.
  std::vector<std::string> Payloads(uint64_t round) const;
  // Messages of this kind that arrived in all sessions.
  std::vector<v1::WorkerMessage> Received(v1::WorkerMessage::BodyCase body) const;
  // Fails the test if they do not come.
  void WaitFor(v1::WorkerMessage::BodyCase body, size_t count) const;
  int downloads() const;
  int uploads() const;

 private:
  using Stream = TestHub::Stream;
  // False: the session breaks.
  bool OnMessage(const v1::WorkerMessage& message, Stream& stream);
  bool OnUpdate(uint64_t round, const std::string& payload, Stream& stream);
  bool StartNextRound(Stream& stream);
  void SendPlan(const std::string& held_hash, uint64_t held_round, Stream& stream);
  void SendEnd(Stream& stream);
  v1::Commit MakeCommit(std::optional<std::string> payload);
  bool Once(uint64_t& fault, uint64_t round);

  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  v1::RunSpec spec_;
  Script script_;
  optim::OptimizerOptions options_;
  optim::Layout layout_;
  std::unique_ptr<optim::Aggregator> aggregator_;
  optim::ReplicaState state_;
  std::map<uint64_t, std::string> hashes_;
  std::map<uint64_t, v1::Commit> commits_;
  std::map<uint64_t, std::vector<std::string>> payloads_;
  std::vector<v1::WorkerMessage> received_;
  uint64_t last_included_ = 0;
  bool over_ = false;
  bool held_back_ = false;
  int downloads_ = 0;
  int uploads_ = 0;
  v1::HeldState held_;
  Stream* stream_ = nullptr;
};

}  // namespace tributary::worker

#endif  // TRIBUTARY_TESTS_WORKER_MINI_COORDINATOR_H_
