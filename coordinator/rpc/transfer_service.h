// Bulk: uploads of updates in frames, resumable while the coordinator lives (upload.h), and downloads of snapshots and commits
// (download.h).
#ifndef TRIBUTARY_COORDINATOR_RPC_TRANSFER_SERVICE_H_
#define TRIBUTARY_COORDINATOR_RPC_TRANSFER_SERVICE_H_

#include <grpcpp/grpcpp.h>

#include <cstdint>

#include "absl/time/time.h"
#include "common/clock.h"
#include "common/executor.h"
#include "coordinator/coordinator.h"
#include "coordinator/metrics.h"
#include "coordinator/rpc/authorisation.h"
#include "coordinator/rpc/download.h"
#include "coordinator/rpc/upload.h"
#include "tributary/v1/transfer.grpc.pb.h"

namespace tributary::coordinator {

// Checksums and spools live on an executor of their own ("bulk"), so that a large upload delays no session; whole files are written and
// read on two more, so that a large model delays no upload. Only the questions to the Coordinator hop to its executor. As with sessions,
// reactions only post, and every Start* and Finish is called from the bulk executor.
//
// The service methods are thread-safe. Outlives the server it is registered with.
class TransferService final
    : public v1::TransferService::WithCallbackMethod_GetUploadProgress<v1::TransferService::WithCallbackMethod_Upload<
          v1::TransferService::WithRawCallbackMethod_Download<v1::TransferService::Service>>> {
 public:
  struct Options {
    // Memory for partial uploads of all sites together, as far as they have arrived; what does not fit waits (its frames are not read),
    // but for the upload that is furthest.
    uint64_t max_spool_bytes = uint64_t{1} << 30;
    // Data bytes of one download frame.
    uint64_t frame_bytes = uint64_t{256} << 10;
    // Downloads that one site or operator may have open.
    int max_downloads = 4;
    // Every so often, transfers are looked through: one without progress for `max_idle_sweeps` in a row is ended, and a partial upload that
    // nobody resumed for as long is dropped.
    absl::Duration sweep_interval = absl::Seconds(30);
    int max_idle_sweeps = 10;
    // Bytes a second of an upload, on average over sweep_interval * max_idle_sweeps; one that is slower is ended and may be resumed. Below
    // what a worker with the least `bandwidth.up` (1 KiB a second, framing included) brings.
    uint64_t min_upload_rate = 512;
    // Counts uploads that fail their checksums.
    CoordinatorMetrics* metrics = &CoordinatorMetrics::None();
    // Tells how long a partial upload has been waiting for somebody to resume it, and a download's question took.
    const Clock* clock = &Clock::Real();
  };

  // All must outlive the service.
  TransferService(Coordinator* coordinator, SerialExecutor* executor, const Authorisation* authorisation, const Options& options);
  // After the server has shut down.
  ~TransferService() override;

  grpc::ServerUnaryReactor* GetUploadProgress(grpc::CallbackServerContext* context, const v1::UploadId* request,
                                              v1::UploadProgress* response) override;
  grpc::ServerReadReactor<v1::UploadFrame>* Upload(grpc::CallbackServerContext* context, v1::UploadProgress* response) override;
  grpc::ServerWriteReactor<grpc::ByteBuffer>* Download(grpc::CallbackServerContext* context, const grpc::ByteBuffer* request) override;

 private:
  void Sweep();

  Coordinator* const coordinator_;
  SerialExecutor* const executor_;
  const Authorisation* const authorisation_;
  const absl::Duration sweep_interval_;
  // On the bulk executor.
  Uploads uploads_;
  Downloads downloads_;

  // Last: stopped before what their work uses goes away.
  SerialExecutor bulk_{"bulk"};
  SerialExecutor disk_{"disk"};
  SerialExecutor hashing_{"hashing"};
};

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_RPC_TRANSFER_SERVICE_H_
