// Download streams: snapshots and commits in frames, from bytes that all who fetch the same thing share.
#ifndef TRIBUTARY_COORDINATOR_RPC_DOWNLOAD_H_
#define TRIBUTARY_COORDINATOR_RPC_DOWNLOAD_H_

#include <grpcpp/grpcpp.h>

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "absl/time/time.h"
#include "common/checksum.h"
#include "common/clock.h"
#include "common/executor.h"
#include "common/stored_bytes.h"
#include "common/tls.h"
#include "coordinator/coordinator.h"
#include "tributary/v1/transfer.pb.h"

namespace tributary::coordinator {

// Open is thread-safe; everything else is on the bulk executor, and so is every Start* and Finish; but whole files are read on the hashing
// executor. Outlives its streams.
class Downloads {
 public:
  // Defaults: TransferService::Options.
  struct Options {
    // Data bytes of one frame.
    uint64_t frame_bytes = 0;
    // That one site or operator may have open.
    int max_open = 0;
    // A stream of which nothing was taken for so many sweeps in a row is cancelled.
    int max_idle_sweeps = 0;
    // Tells how long the coordinator took over a question.
    const Clock* clock = nullptr;
  };

  // All must outlive it. `coordinator` is called on `executor` only, but for its digests.
  Downloads(Coordinator* coordinator, SerialExecutor* executor, SerialExecutor* bulk, SerialExecutor* hashing, const Options& options)
      : coordinator_(coordinator), executor_(executor), bulk_(bulk), hashing_(hashing), options_(options) {}

  // The reactor of one stream; frees itself. Ends with the errors of transfer.proto; RESOURCE_EXHAUSTED: the caller has too many open;
  // CANCELLED, UNAVAILABLE, DEADLINE_EXCEEDED: resume it.
  grpc::ServerWriteReactor<grpc::ByteBuffer>* Open(grpc::CallbackServerContext* context, Identity caller, std::string worker_secret,
                                                   v1::DownloadRequest request);

  // Ends streams that nobody reads, and lets go of files that nobody asked for since the last sweep.
  void Sweep();

 private:
  class Call;
  struct KnownDigest {
    std::weak_ptr<const StoredBytes> bytes;
    Digest digest;
    // Of a file, which takes no memory: known also to whoever asks for it next.
    SharedBytes kept;
    bool used = true;  // since the last sweep
  };
  // One site or operator.
  struct Caller {
    int open = 0;
    std::deque<Call*> waiting;  // to ask the coordinator
    bool asking = false;        // one of its calls does, or will at `not_before`
    absl::Time not_before = absl::InfinitePast();
  };

  // Asks the coordinator for the caller's next call: one at a time, and no more than a share of the coordinator's time.
  void AskNext(const std::string& key);
  void Answered(const std::string& key, absl::Duration took);

  // On the hashing executor. Checked and hashed once, however many fetch the same bytes.
  absl::StatusOr<Digest> DigestOf(const v1::DownloadRequest& request, const SharedBytes& bytes);
  void ForgetUnused();

  Coordinator* const coordinator_;
  SerialExecutor* const executor_;
  SerialExecutor* const bulk_;
  SerialExecutor* const hashing_;
  const Options options_;

  std::set<Call*> calls_;
  std::map<std::string, Caller> callers_;
  std::map<const StoredBytes*, KnownDigest> digests_;  // on the hashing executor
};

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_RPC_DOWNLOAD_H_
