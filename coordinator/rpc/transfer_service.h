// Bulk: uploads of updates in frames, resumable while the coordinator lives, and downloads of snapshots and commits from shared bytes.
#ifndef TRIBUTARY_COORDINATOR_RPC_TRANSFER_SERVICE_H_
#define TRIBUTARY_COORDINATOR_RPC_TRANSFER_SERVICE_H_

#include <grpcpp/grpcpp.h>

#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/checksum.h"
#include "common/executor.h"
#include "coordinator/coordinator.h"
#include "coordinator/rpc/authorisation.h"
#include "tributary/v1/transfer.grpc.pb.h"

namespace tributary::coordinator {

// Checksums, hashes and spools live on an executor of their own ("bulk"), so that a large upload delays no session; only the questions to
// the Coordinator hop to its executor. As with sessions, reactions only post, and every Start* and Finish is called from the bulk executor.
//
// The service methods are thread-safe. Outlives the server it is registered with.
class TransferService final
    : public v1::TransferService::WithCallbackMethod_GetUploadProgress<v1::TransferService::WithCallbackMethod_Upload<
          v1::TransferService::WithRawCallbackMethod_Download<v1::TransferService::Service>>> {
 public:
  struct Options {
    // Memory for partial uploads of all sites together; what does not fit waits (its frames are not read). One upload larger than this is
    // let in alone.
    uint64_t max_spool_bytes = uint64_t{1} << 30;
    // Data bytes of one download frame.
    uint64_t frame_bytes = uint64_t{256} << 10;
    // Downloads that one site or operator may have open.
    int max_downloads = 4;
    // Every so often, transfers are looked through: one without progress for `max_idle_sweeps` in a row is ended, and a partial upload that
    // nobody resumed for as long is dropped.
    absl::Duration sweep_interval = absl::Seconds(30);
    int max_idle_sweeps = 10;
  };

  // All must outlive the service.
  TransferService(Coordinator* coordinator, SerialExecutor* executor, const Registry* registry, const Options& options);
  // After the server has shut down.
  ~TransferService() override;

  grpc::ServerUnaryReactor* GetUploadProgress(grpc::CallbackServerContext* context, const v1::UploadId* request,
                                              v1::UploadProgress* response) override;
  grpc::ServerReadReactor<v1::UploadFrame>* Upload(grpc::CallbackServerContext* context, v1::UploadProgress* response) override;
  grpc::ServerWriteReactor<grpc::ByteBuffer>* Download(grpc::CallbackServerContext* context, const grpc::ByteBuffer* request) override;

 private:
  class UploadCall;
  class DownloadCall;

  // A partial upload. At most one per site.
  struct Spool {
    v1::UploadHeader header;
    std::string payload;
    Sha256Hasher hasher;          // over payload
    UploadCall* owner = nullptr;  // the stream that is filling it; null: broken off, may be resumed
    int idle_sweeps = 0;
  };

  // Everything below is on the bulk executor.

  // Makes or finds the spool for this call, or queues the call until there is room; calls UploadCall::Admitted with the spool or an error.
  void Admit(UploadCall* call);
  bool MakeRoom(uint64_t bytes);
  void AdmitWaiting();
  void DropSpool(const std::string& site);
  void Sweep();
  std::array<uint8_t, 32> DigestOf(const SharedBytes& bytes);

  Coordinator* const coordinator_;
  SerialExecutor* const executor_;
  const Registry* const registry_;
  const Options options_;

  std::map<std::string, std::unique_ptr<Spool>> spools_;  // by site
  std::map<std::string, v1::UploadId> completed_;         // newest upload of each site that the coordinator took
  uint64_t spooled_bytes_ = 0;                            // what the spools may grow to, and what is on its way to the coordinator
  std::deque<UploadCall*> waiting_;
  std::set<UploadCall*> uploads_;
  std::set<DownloadCall*> downloads_;
  std::map<std::string, int> downloads_by_caller_;
  struct KnownDigest {
    std::weak_ptr<const std::string> bytes;
    std::array<uint8_t, 32> digest;
  };
  std::map<const std::string*, KnownDigest> digests_;

  SerialExecutor bulk_{"bulk"};  // last: stopped before what its work uses goes away
};

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_RPC_TRANSFER_SERVICE_H_
