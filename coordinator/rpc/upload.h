// Upload streams: frames from the wire into their spools (upload_spools.h), and what is whole to the Coordinator.
#ifndef TRIBUTARY_COORDINATOR_RPC_UPLOAD_H_
#define TRIBUTARY_COORDINATOR_RPC_UPLOAD_H_

#include <grpcpp/grpcpp.h>

#include <cstdint>
#include <map>
#include <string>

#include "absl/status/status.h"
#include "common/clock.h"
#include "common/executor.h"
#include "coordinator/coordinator.h"
#include "coordinator/rpc/upload_spools.h"
#include "proto/audit/signed_update.h"
#include "tributary/v1/transfer.pb.h"

namespace tributary::coordinator {

// Open is thread-safe; everything else is on the bulk executor, and so is every Start* and Finish. Outlives its streams.
class Uploads {
 public:
  // Defaults: TransferService::Options.
  struct Options {
    UploadSpools::Options spools;
    // A stream without progress for so many sweeps in a row, although it was its turn, is ended with DEADLINE_EXCEEDED.
    int max_idle_sweeps = 0;
    // Likewise one that has brought less than this in so many sweeps.
    uint64_t min_bytes = 0;
    CoordinatorMetrics* metrics = nullptr;
  };

  // All must outlive it. `coordinator` is called on `executor` only; on `disk` whole files are made durable and checked.
  Uploads(Coordinator* coordinator, SerialExecutor* executor, SerialExecutor* bulk, SerialExecutor* disk, const Clock* clock,
          const Options& options)
      : coordinator_(coordinator),
        executor_(executor),
        bulk_(bulk),
        disk_(disk),
        clock_(clock),
        options_(options),
        spools_(options.spools) {}

  // Who sends an upload.
  struct Sender {
    std::string federation;
    std::string site;
    std::string worker_secret;
    Certificates certificates;  // null: plaintext
  };
  // The reactor of one stream; frees itself. Its header is shown to the Coordinator before anything is kept of it. Ends with the errors of
  // transfer.proto; ABORTED: replaced by a newer stream of its site; CANCELLED, DEADLINE_EXCEEDED: resume it; UNAVAILABLE: the journal
  // failed.
  grpc::ServerReadReactor<v1::UploadFrame>* Open(Sender sender, v1::UploadProgress* response);

  v1::UploadProgress Progress(const std::string& site, const v1::UploadId& id) const { return spools_.Progress(site, id); }
  // Ends streams without progress, and drops what nobody resumes.
  void Sweep();

 private:
  class Call;
  using Stream = UploadSpools::Stream;

  // A call's header was found acceptable: it gets its spool, now or when there is room.
  void Admit(Call* call, std::unique_ptr<UploadPlace> place);
  void AdmitWaiting();

  Coordinator* const coordinator_;
  SerialExecutor* const executor_;
  SerialExecutor* const bulk_;
  SerialExecutor* const disk_;
  const Clock* const clock_;
  const Options options_;

  UploadSpools spools_;
  std::map<Stream, Call*> calls_;
  Stream last_stream_ = 0;
};

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_RPC_UPLOAD_H_
