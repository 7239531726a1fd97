// For the tests of coordinator/rpc: a Coordinator that records what it is told, and a server with real TLS in front of it.
#ifndef TRIBUTARY_TESTS_COORDINATOR_RPC_RPC_SUPPORT_H_
#define TRIBUTARY_TESTS_COORDINATOR_RPC_RPC_SUPPORT_H_

#include <grpcpp/grpcpp.h>

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <tuple>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/executor.h"
#include "common/tls.h"
#include "coordinator/coordinator.h"
#include "coordinator/rpc/rpc_server.h"
#include "coordinator/site_registry.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tributary/v1/admin.grpc.pb.h"
#include "tributary/v1/session.grpc.pb.h"
#include "tributary/v1/transfer.grpc.pb.h"

namespace tributary::coordinator {

// Longer than anything here takes; a test that waits this long has failed.
inline constexpr absl::Duration kPatience = absl::Seconds(60);

struct RecordedSubmission final : Submission {
  RecordedSubmission(v1::RunSpec s, std::function<absl::Status()> p) : spec(std::move(s)), prepare(std::move(p)) {}
  absl::Status Prepare() override { return prepare == nullptr ? absl::OkStatus() : prepare(); }
  const v1::RunSpec spec;
  const std::function<absl::Status()> prepare;
};

// The coordinator's side is called on the executor, the test's side on the test's thread.
class RecordingCoordinator final : public Coordinator {
 public:
  struct Upload {
    std::string site;
    v1::UploadHeader header;
    std::string payload;
    std::string file;
    absl::StatusOr<double> norm;
    UpdateProof proof;
  };

  // Waits until `condition` holds of what has been recorded; false after kPatience.
  bool Await(const std::function<bool(const RecordingCoordinator&)>& condition) {
    std::unique_lock<std::mutex> lock(mutex_);
    return changed_.wait_for(lock, absl::ToChronoNanoseconds(kPatience), [&] { return condition(*this); });
  }
  // Runs `work` with what is recorded.
  template <typename Work>
  auto With(Work work) {
    const std::lock_guard<std::mutex> lock(mutex_);
    return work(*this);
  }

  void SessionOpened(const std::string& site, SessionSink* session, const SessionOrigin& origin) override {
    SessionSink* older = nullptr;
    {
      const Change change(*this);
      origins.push_back(origin);
      older = std::exchange(sessions[site], session);
      ++opened;
    }
    if (older != nullptr) {
      older->Close(absl::AbortedError("replaced by a newer session"));
    }
  }
  void MessageReceived(const std::string& site, SessionSink* session, v1::WorkerMessage message, uint64_t encoded_bytes,
                       UpdateProof proof) override {
    std::function<void(SessionSink*, const v1::WorkerMessage&)> answer;
    {
      const Change change(*this);
      bytes[{site, ByteDirection::kUp, ByteKind::kControl}] += encoded_bytes;
      messages.emplace_back(site, message);
      proofs.push_back(std::move(proof));
      answer = on_message;
    }
    if (answer != nullptr) {
      answer(session, message);
    }
  }
  void SessionClosed(const std::string& site, SessionSink* session) override {
    const Change change(*this);
    ++closed;
    if (sessions[site] == session) {
      sessions.erase(site);
    }
  }
  void CountBytes(const std::string& site, ByteDirection direction, ByteKind kind, uint64_t count) override {
    const Change change(*this);
    bytes[{site, direction, kind}] += count;
  }
  absl::Status CheckWorker(const std::string& site, const std::string& worker_secret) override {
    const Change change(*this);
    return only_worker.empty() || worker_secret == only_worker ? absl::OkStatus() : SessionHolder::Refusal(site, absl::Seconds(30));
  }
  absl::StatusOr<std::unique_ptr<UploadPlace>> CheckUpload(const std::string& site, const v1::UploadHeader& header,
                                                           const UpdateProof& proof) override {
    const Change change(*this);
    if (!upload_check.ok()) {
      return upload_check;
    }
    return place_upload != nullptr ? place_upload() : nullptr;
  }
  absl::Status UploadCompleted(const std::string& site, const v1::UploadHeader& header, UploadedPayload payload) override {
    const Change change(*this);
    uploads.push_back({site, header, std::move(payload.bytes), std::move(payload.file), std::move(payload.norm), std::move(payload.proof)});
    return upload_result;
  }
  absl::StatusOr<SharedBytes> OpenDownload(const v1::DownloadRequest& request, const std::optional<std::string>& site) override {
    const Change change(*this);
    ++downloads_asked;
    if (on_download != nullptr) {
      on_download();
    }
    if (request.what_case() == v1::DownloadRequest::kStateAtRound && site.has_value()) {
      return absl::PermissionDeniedError("for operators");
    }
    if (download == nullptr) {
      return absl::NotFoundError("no such run");
    }
    return download;
  }
  absl::StatusOr<Digest> DigestOfDownload(const v1::DownloadRequest&, const StoredBytes& bytes) const override { return Sha256(bytes); }
  absl::StatusOr<std::shared_ptr<Submission>> BeginSubmission(const v1::RunSpec& spec, const std::string&) override {
    const Change change(*this);
    if (spec.name() == "bad") {
      return absl::InvalidArgumentError("rounds: must be at least 1");
    }
    return std::make_shared<RecordedSubmission>(spec, prepare);
  }
  absl::StatusOr<v1::RunStatus> EndSubmission(Submission& submission, const std::string& operator_name) override {
    const Change change(*this);
    const v1::RunSpec& spec = static_cast<RecordedSubmission&>(submission).spec;
    v1::RunStatus status;
    status.set_run_id(spec.name() + "-1");
    status.set_state(v1::SUBMITTED);
    status.set_reason("submitted by " + operator_name);
    runs[status.run_id()] = status;
    return status;
  }
  v1::ListRunsResponse ListRuns() override {
    const Change change(*this);
    v1::ListRunsResponse response;
    for (const auto& [id, status] : runs) {
      *response.add_runs() = status;
    }
    return response;
  }
  absl::StatusOr<v1::RunStatus> GetRun(const std::string& run) override {
    const Change change(*this);
    ++run_reads;
    for (const auto& [id, status] : runs) {
      if (id == run || id == run + "-1") {
        return status;
      }
    }
    return absl::NotFoundError("no run '" + run + "'");
  }
  absl::StatusOr<v1::RunHistory> GetRunHistory(const std::string& run) override {
    v1::RunHistory history;
    history.add_rounds()->set_round(1);
    return history;
  }
  absl::StatusOr<v1::RunStatus> StopRun(const std::string& run, const OperatorAct& act) override {
    return absl::FailedPreconditionError(Told(run + " is over; not stopped", act));
  }
  absl::StatusOr<v1::RunStatus> PauseRun(const std::string& run, const OperatorAct& act) override {
    return absl::FailedPreconditionError(Told(run + " is queued; not paused", act));
  }
  absl::StatusOr<v1::RunStatus> ResumeRun(const std::string& run, const OperatorAct& act) override {
    return absl::FailedPreconditionError(Told(run + " is running; not resumed", act));
  }
  absl::StatusOr<v1::RunStatus> ReadmitSite(const std::string& run, const std::string& site, const OperatorAct& act) override {
    return absl::FailedPreconditionError(absl::StrCat(run, ": ", site, " not readmitted by ", act.operator_name));
  }
  absl::StatusOr<v1::RunStatus> ExtendRun(const std::string& run, uint64_t rounds, const OperatorAct& act) override {
    return absl::FailedPreconditionError(absl::StrCat(run, " not extended to ", rounds, " by ", act.operator_name));
  }
  void SetRunObserver(std::function<void(const std::string&)> observer) override {
    const Change change(*this);
    run_observer = std::move(observer);
  }
  v1::ServerInfo GetServerInfo() override {
    v1::ServerInfo info;
    info.set_protocol_version(1);
    return info;
  }
  std::vector<SiteStanding> GetSites() override { return {}; }
  void Drain(std::function<void()> done) override { done(); }

  // All below in With() or in the condition of Await().
  std::map<std::string, SessionSink*> sessions;
  std::vector<SessionOrigin> origins;
  std::string only_worker;  // whose secret CheckWorker asks for; empty: nobody's
  int opened = 0;
  int closed = 0;
  int run_reads = 0;
  std::vector<std::pair<std::string, v1::WorkerMessage>> messages;
  std::vector<UpdateProof> proofs;  // of them
  std::function<void(SessionSink*, const v1::WorkerMessage&)> on_message;
  std::map<std::tuple<std::string, ByteDirection, ByteKind>, uint64_t> bytes;
  absl::Status upload_check;
  std::function<std::unique_ptr<UploadPlace>()> place_upload;  // none: into memory
  absl::Status upload_result;
  std::vector<Upload> uploads;
  std::function<absl::Status()> prepare;  // of submissions; none: nothing to do
  SharedBytes download;
  int downloads_asked = 0;
  std::function<void()> on_download;
  std::map<std::string, v1::RunStatus> runs;
  std::function<void(const std::string&)> run_observer;

 private:
  // Holds the lock, and wakes Await when it lets go. std::mutex, because ThreadSanitizer does not see through Abseil's library.
  class Change {
   public:
    explicit Change(RecordingCoordinator& coordinator) : coordinator_(coordinator) { coordinator_.mutex_.lock(); }
    ~Change() {
      coordinator_.mutex_.unlock();
      coordinator_.changed_.notify_all();
    }
    Change(const Change&) = delete;
    Change& operator=(const Change&) = delete;

   private:
    RecordingCoordinator& coordinator_;
  };

  std::mutex mutex_;
  std::condition_variable changed_;
};

// Certificates of the federation "test": a coordinator on loopback, sites berlin, paris and (not registered) mallory, operators alice and
// (not registered) eve, an auditor ann. Made once for the program.
const std::string& TestPki();
TlsFiles FilesFor(const std::string& stem);  // "coordinator", "site-berlin", ...

// A server with TLS on a free port.
class RpcTest : public ::testing::Test {
 protected:
  void SetUp() override;
  void TearDown() override;

  // Started by the test after it has set `options_`.
  void StartServer();
  // Runs `work` on the executor and waits for it.
  void OnExecutor(std::function<void()> work);
  // A channel with this certificate, to the server or to another port of this machine.
  std::shared_ptr<grpc::Channel> ChannelAs(const std::string& stem, int port = 0);
  static void Bound(grpc::ClientContext& context);
  // Sends the same message on the session of each site.
  void Broadcast(const std::shared_ptr<const v1::CoordinatorMessage>& message);

  v1::CoordinatorConfig config_;
  CoordinatorMetrics metrics_{{}};
  RpcServer::Options options_;
  SiteRegistry sites_{{"berlin", "paris"}};
  RecordingCoordinator coordinator_;
  SerialExecutor executor_{"test"};
  std::unique_ptr<RpcServer> server_;
};

v1::CoordinatorMessage MakeCommitMessage(size_t bytes);

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_TESTS_COORDINATOR_RPC_RPC_SUPPORT_H_
