// A coordinator for whole workers to train against: the real one, in a Federation, with one run, served over real gRPC. What goes wrong
// between it and the worker of site berlin is written in a script.
#ifndef TRIBUTARY_TESTS_WORKER_SERVED_FEDERATION_H_
#define TRIBUTARY_TESTS_WORKER_SERVED_FEDERATION_H_

#include <condition_variable>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "tests/coordinator/federation.h"
#include "tests/worker/test_hub.h"
#include "tributary/v1/run.pb.h"

namespace tributary::worker {

// Thread-safe. Outlives the hubs that it serves.
class ServedFederation {
 public:
  struct Script {
    uint64_t max_inline = 1 << 20;
    absl::Duration lease = absl::Seconds(30);
    // A scripted site that takes part besides berlin.
    bool companion = false;
    // berlin is told another seed, so that its weights are others.
    bool other_weights = false;
    // Once each, at this round (0: never):
    uint64_t lose_update = 0;       // the session breaks when the update arrives, before the coordinator sees it
    uint64_t lose_receipt = 0;      // the coordinator takes the update in; then the session breaks before anything is said
    uint64_t close_without = 0;     // the session breaks when the update arrives, and the round is closed with the companion's alone
    uint64_t wrong_commit = 0;      // the commit that arrives is not the one that was made
    uint64_t drain = 0;             // instead of the start of this round, Drain and the end of the session
    bool hold_first_round = false;  // the coordinator sees no update of round 1 until Release()
  };

  ServedFederation(const v1::RunSpec& spec, Script script);

  TestHub::Handlers Handlers();

  void Release();
  // The state that the log leads to.
  std::string state_hash();
  uint64_t round();
  // Payloads of berlin that arrived for a round, inline or uploaded.
  std::vector<std::string> Payloads(uint64_t round) const;
  // Messages of this kind that arrived in all sessions.
  std::vector<v1::WorkerMessage> Received(v1::WorkerMessage::BodyCase body) const;
  // Fails the test if they do not come.
  void WaitFor(v1::WorkerMessage::BodyCase body, size_t count) const;
  int downloads() const;
  int uploads() const;

 private:
  // One session of berlin; a stream that is broken says nothing more.
  struct Line final : coordinator::SessionSink {
    Line(ServedFederation* federation, grpc::ServerContext* context, TestHub::Stream* stream)
        : federation(federation), context(context), stream(stream) {}
    void Send(std::shared_ptr<const v1::CoordinatorMessage> message) override;
    void Close(const absl::Status& status) override;
    ServedFederation* const federation;
    grpc::ServerContext* const context;
    TestHub::Stream* const stream;
    bool broken = false;
    bool closed = false;  // by the coordinator, which then expects no more of it
  };

  grpc::Status Serve(grpc::ServerContext& context, TestHub::Stream& stream);
  void OnMessage(v1::WorkerMessage message, Line& line);
  // What the worker gets of `message`.
  void Tamper(v1::CoordinatorMessage& message, Line& line);
  static bool Once(uint64_t& fault, uint64_t round);

  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  Script script_;
  coordinator::Federation federation_;
  std::string run_;
  std::optional<v1::WorkerMessage> held_back_;
  Line* line_ = nullptr;  // the newest
  std::map<uint64_t, std::vector<std::string>> payloads_;
  std::vector<v1::WorkerMessage> received_;
  int downloads_ = 0;
  int uploads_ = 0;
};

}  // namespace tributary::worker

#endif  // TRIBUTARY_TESTS_WORKER_SERVED_FEDERATION_H_
