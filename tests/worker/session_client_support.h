// A SessionClient with its executor, and the simplest peers for it.
#ifndef TRIBUTARY_TESTS_WORKER_SESSION_CLIENT_SUPPORT_H_
#define TRIBUTARY_TESTS_WORKER_SESSION_CLIENT_SUPPORT_H_

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tests/worker/test_hub.h"
#include "worker/session_client.h"

namespace tributary::worker {

inline v1::WorkerMessage Hello(const std::string& version) {
  v1::WorkerMessage message;
  message.mutable_hello()->set_software_version(version);
  return message;
}

inline v1::CoordinatorMessage Welcome(const std::string& version) {
  v1::CoordinatorMessage message;
  message.mutable_welcome()->set_software_version(version);
  return message;
}

// Answers every Hello with a Welcome of the same version until the client ends.
inline grpc::Status Echo(grpc::ServerContext&, TestHub::Stream& stream) {
  v1::WorkerMessage message;
  while (stream.Read(&message)) {
    stream.Write(Welcome(message.hello().software_version()));
  }
  return grpc::Status::OK;
}

inline grpc::Status WaitForEnd(grpc::ServerContext&, TestHub::Stream& stream) {
  v1::WorkerMessage message;
  while (stream.Read(&message)) {
  }
  return grpc::Status::OK;
}

// A client with its executor; what it reports can be waited for.
class Client {
 public:
  explicit Client(const std::string& address, std::optional<TlsFiles> tls = std::nullopt, absl::Duration progress_timeout = kPatience,
                  uint64_t rate = 0, Clock* clock = &Clock::Real())
      : executor_("test"),
        client_({.coordinator = address,
                 .route = Route(),
                 .certificates = tls.has_value() ? Unchecked(*tls) : nullptr,
                 .identity = {"demo", Role::kSite, "berlin"},
                 .worker_secret = std::string(32, 'a'),
                 .progress_timeout = progress_timeout,
                 .frame_bytes = 1000,
                 .up_rate = rate,
                 .down_rate = rate,
                 .clock = clock,
                 .finish_timeout = absl::Milliseconds(300)},
                &executor_,
                {.message =
                     [this](uint64_t, v1::CoordinatorMessage message) {
                       const std::lock_guard<std::mutex> lock(mutex_);
                       messages_.push_back(message.welcome().software_version());
                       changed_.notify_all();
                     },
                 .closed = [this](uint64_t, absl::Status status) { closed.Set(std::move(status)); },
                 .downloaded =
                     [this](uint64_t, absl::StatusOr<std::string> bytes, uint64_t count) {
                       arrived = count;
                       downloaded.Set(std::move(bytes));
                     },
                 .uploaded =
                     [this](uint64_t, absl::Status status, uint64_t count) {
                       arrived = count;
                       uploaded.Set(std::move(status));
                     },
                 .moved =
                     [this](ByteDirection direction, ByteKind kind, uint64_t bytes) {
                       const std::lock_guard<std::mutex> lock(mutex_);
                       moved_[{direction, kind}] += bytes;
                     }}) {}
  ~Client() { Shutdown(); }

  void Shutdown() {
    client_.Shutdown();
    executor_.Stop();
  }
  void Post(std::function<void(SessionClient&)> work) {
    executor_.Post([this, work = std::move(work)] { work(client_); });
  }
  std::vector<std::string> WaitForMessages(size_t count) {
    std::unique_lock<std::mutex> lock(mutex_);
    EXPECT_TRUE(changed_.wait_for(lock, absl::ToChronoNanoseconds(kPatience), [this, count] { return messages_.size() >= count; }));
    return messages_;
  }
  uint64_t moved(ByteDirection direction, ByteKind kind) {
    const std::lock_guard<std::mutex> lock(mutex_);
    return moved_[{direction, kind}];
  }

  Awaited<absl::Status> closed;
  Awaited<absl::StatusOr<std::string>> downloaded;
  Awaited<absl::Status> uploaded;
  // Of the transfer reported last.
  std::atomic<uint64_t> arrived = 0;

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> messages_;
  std::map<std::pair<ByteDirection, ByteKind>, uint64_t> moved_;
  SerialExecutor executor_;
  SessionClient client_;
};

}  // namespace tributary::worker

#endif  // TRIBUTARY_TESTS_WORKER_SESSION_CLIENT_SUPPORT_H_
