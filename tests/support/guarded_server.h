// A gRPC server of a test behind the coordinator's guard, as the real ones are: on a free port of loopback, with TLS.
#ifndef TRIBUTARY_TESTS_SUPPORT_GUARDED_SERVER_H_
#define TRIBUTARY_TESTS_SUPPORT_GUARDED_SERVER_H_

#include <grpcpp/grpcpp.h>
#include <grpcpp/server_posix.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/tls.h"
#include "coordinator/guard/guard.h"

namespace tributary {

class GuardedServer {
 public:
  // `builder` has the services. Without `certificates`: plaintext. `port` 0: a free one.
  GuardedServer(grpc::ServerBuilder& builder, CertificateSource certificates, int port = 0) {
    coordinator::Guard::Options options;
    options.name = "test";
    options.certificates = std::move(certificates);
    auto guard = coordinator::Guard::Start(absl::StrCat("127.0.0.1:", port), std::move(options));
    EXPECT_TRUE(guard.ok()) << guard.status();
    guard_ = *std::move(guard);
    server_ = builder.BuildAndStart();
    EXPECT_TRUE(guard_->Admit(nullptr, [this](int descriptor) { grpc::AddInsecureChannelFromFd(server_.get(), descriptor); }).ok());
  }
  ~GuardedServer() { Stop(); }

  // Breaks every connection.
  void Stop() {
    guard_->StopAdmitting();
    server_->Shutdown(absl::ToChronoTime(absl::UnixEpoch()));  // a deadline in the past: at once
    guard_->AwaitEmpty(absl::Seconds(1));
  }

  int port() const { return guard_->port(); }
  std::string address() const { return absl::StrCat("127.0.0.1:", port()); }
  const coordinator::PeerTable& peers() const { return guard_->peers(); }

 private:
  std::unique_ptr<coordinator::Guard> guard_;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace tributary

#endif  // TRIBUTARY_TESTS_SUPPORT_GUARDED_SERVER_H_
