// A coordinator's network end whose every answer a test writes: real gRPC on loopback, TLS with a CA of its own.
#ifndef TRIBUTARY_TESTS_WORKER_TEST_HUB_H_
#define TRIBUTARY_TESTS_WORKER_TEST_HUB_H_

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/pki.h"
#include "common/tls.h"
#include "tests/common/test_folder.h"
#include "tests/common/unchecked_certificates.h"
#include "tests/support/guarded_server.h"
#include "tributary/v1/session.grpc.pb.h"
#include "tributary/v1/transfer.grpc.pb.h"

namespace tributary::worker {

// For anything that must happen, on a machine that may be busy.
inline constexpr absl::Duration kPatience = absl::Seconds(30);

// A CA with certificates for the coordinator and the site berlin.
class TestPki {
 public:
  TestPki() {
    EXPECT_TRUE(InitCa(directory_.path(), "demo", absl::Hours(24)).ok());
    EXPECT_TRUE(IssueCertificate(directory_.path(), {.identity = {"demo", Role::kCoordinator, ""}, .hosts = {"127.0.0.1"}}).ok());
    EXPECT_TRUE(IssueCertificate(directory_.path(), {.identity = {"demo", Role::kSite, "berlin"}, .hosts = {}}).ok());
  }
  TlsFiles Files(const std::string& stem) const {
    return {directory_.File("ca.crt"), directory_.File(stem + ".crt"), directory_.File(stem + ".key")};
  }
  const std::string& folder() const { return directory_.path(); }

 private:
  const TestFolder directory_;
};

class TestHub {
 public:
  using Stream = grpc::ServerReaderWriter<v1::CoordinatorMessage, v1::WorkerMessage>;
  using Frames = grpc::ServerReader<v1::UploadFrame>;
  using Download = grpc::ServerWriter<v1::DownloadFrame>;

  // Each call runs on a thread of its own and may block. Set them before a client connects.
  struct Handlers {
    std::function<grpc::Status(grpc::ServerContext&, Stream&)> open = nullptr;
    std::function<grpc::Status(const v1::UploadId&, v1::UploadProgress&)> progress = nullptr;
    std::function<grpc::Status(Frames&, v1::UploadProgress&)> upload = nullptr;
    std::function<grpc::Status(const v1::DownloadRequest&, Download&)> download = nullptr;
  };

  // Without `pki`: plaintext. `port` 0 picks a free one.
  explicit TestHub(Handlers handlers, const TestPki* pki = nullptr, int port = 0)
      : TestHub(std::move(handlers), pki == nullptr ? nullptr : Unchecked(pki->Files("coordinator")), port) {}
  TestHub(Handlers handlers, CertificateSource certificates, int port) : sessions_(this), transfers_(this), handlers_(std::move(handlers)) {
    grpc::ServerBuilder builder;
    builder.RegisterService(&sessions_);
    builder.RegisterService(&transfers_);
    server_ = std::make_unique<GuardedServer>(builder, std::move(certificates), port);
  }

  // Breaks every connection.
  void Stop() { server_->Stop(); }
  std::string address() const { return server_->address(); }
  int port() const { return server_->port(); }

 private:
  struct Sessions final : v1::SessionService::Service {
    explicit Sessions(TestHub* hub) : hub(hub) {}
    grpc::Status Open(grpc::ServerContext* context, Stream* stream) override { return hub->handlers_.open(*context, *stream); }
    TestHub* const hub;
  };
  struct Transfers final : v1::TransferService::Service {
    explicit Transfers(TestHub* hub) : hub(hub) {}
    grpc::Status GetUploadProgress(grpc::ServerContext*, const v1::UploadId* id, v1::UploadProgress* progress) override {
      return hub->handlers_.progress(*id, *progress);
    }
    grpc::Status Upload(grpc::ServerContext*, Frames* frames, v1::UploadProgress* progress) override {
      return hub->handlers_.upload(*frames, *progress);
    }
    grpc::Status Download(grpc::ServerContext*, const v1::DownloadRequest* request, TestHub::Download* frames) override {
      return hub->handlers_.download(*request, *frames);
    }
    TestHub* const hub;
  };

  Sessions sessions_;
  Transfers transfers_;
  const Handlers handlers_;
  std::unique_ptr<GuardedServer> server_;
};

// A value that one thread waits for and another sets. Of the standard library: ThreadSanitizer does not see into a packaged Abseil.
template <typename T>
class Awaited {
 public:
  void Set(T value) {
    const std::lock_guard<std::mutex> lock(mutex_);
    value_ = std::move(value);
    is_set_ = true;
    changed_.notify_all();
  }
  // Fails the test, and gives a default value, if it does not come.
  T Wait() {
    std::unique_lock<std::mutex> lock(mutex_);
    if (changed_.wait_for(lock, absl::ToChronoNanoseconds(kPatience), [this] { return is_set_; })) {
      return value_;
    }
    ADD_FAILURE() << "waited in vain";
    return T();
  }
  // Whether it comes by then.
  bool WaitFor(absl::Duration time) {
    std::unique_lock<std::mutex> lock(mutex_);
    return changed_.wait_for(lock, absl::ToChronoNanoseconds(time), [this] { return is_set_; });
  }
  void Reset() {
    const std::lock_guard<std::mutex> lock(mutex_);
    is_set_ = false;
  }
  bool is_set() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return is_set_;
  }

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool is_set_ = false;
  T value_ = T();
};

}  // namespace tributary::worker

#endif  // TRIBUTARY_TESTS_WORKER_TEST_HUB_H_
