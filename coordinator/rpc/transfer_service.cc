#include "coordinator/rpc/transfer_service.h"

#include <optional>
#include <utility>

#include "absl/status/statusor.h"
#include "common/byte_kind.h"
#include "common/wire_size.h"
#include "coordinator/rpc/grpc_status.h"

namespace tributary::coordinator {
namespace {

class RefusedUpload final : public grpc::ServerReadReactor<v1::UploadFrame> {
 public:
  explicit RefusedUpload(const absl::Status& status) { Finish(ToGrpcStatus(status)); }
  void OnDone() override { delete this; }
};

class RefusedDownload final : public grpc::ServerWriteReactor<grpc::ByteBuffer> {
 public:
  explicit RefusedDownload(const absl::Status& status) { Finish(ToGrpcStatus(status)); }
  void OnDone() override { delete this; }
};

}  // namespace

TransferService::TransferService(Coordinator* coordinator, SerialExecutor* executor, const Authorisation* authorisation,
                                 const Options& options)
    : coordinator_(coordinator),
      executor_(executor),
      authorisation_(authorisation),
      sweep_interval_(options.sweep_interval),
      uploads_(coordinator, executor, &bulk_, &disk_, options.clock,
               {{options.max_spool_bytes, options.sweep_interval * options.max_idle_sweeps},
                options.max_idle_sweeps,
                static_cast<uint64_t>(static_cast<double>(options.min_upload_rate) *
                                      absl::ToDoubleSeconds(options.sweep_interval * options.max_idle_sweeps)),
                options.metrics}),
      downloads_(coordinator, executor, &bulk_, &hashing_,
                 {options.frame_bytes, options.max_downloads, options.max_idle_sweeps, options.clock}) {
  bulk_.PostAfter(sweep_interval_, [this] { Sweep(); });
}

TransferService::~TransferService() {
  hashing_.Stop();
  disk_.Stop();
  bulk_.Stop();
}

grpc::ServerUnaryReactor* TransferService::GetUploadProgress(grpc::CallbackServerContext* context, const v1::UploadId* request,
                                                             v1::UploadProgress* response) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  absl::StatusOr<std::string> site = authorisation_->Site(*context);
  if (!site.ok()) {
    reactor->Finish(ToGrpcStatus(site.status()));
    return reactor;
  }
  bulk_.Post([this, reactor, request, response, site = *std::move(site), secret = Authorisation::WorkerSecretOf(*context)] {
    *response = uploads_.Progress(site, *request);
    // The answer waits for nobody; counted, and a sign of the worker's life, if it is the worker that asks.
    executor_->Post(
        [coordinator = coordinator_, site, secret, up = WireSize(request->ByteSizeLong()), down = WireSize(response->ByteSizeLong())] {
          if (coordinator->CheckWorker(site, secret).ok()) {
            coordinator->CountBytes(site, ByteDirection::kUp, ByteKind::kControl, up);
            coordinator->CountBytes(site, ByteDirection::kDown, ByteKind::kControl, down);
          }
        });
    reactor->Finish(grpc::Status::OK);
  });
  return reactor;
}

grpc::ServerReadReactor<v1::UploadFrame>* TransferService::Upload(grpc::CallbackServerContext* context, v1::UploadProgress* response) {
  absl::StatusOr<std::string> site = authorisation_->Site(*context);
  if (!site.ok()) {
    return new RefusedUpload(site.status());
  }
  const std::optional<Peer> peer = authorisation_->PeerOf(*context);
  return uploads_.Open({.federation = authorisation_->federation(),
                        .site = *std::move(site),
                        .worker_secret = Authorisation::WorkerSecretOf(*context),
                        .certificates = peer.has_value() ? peer->certificates : nullptr},
                       response);
}

grpc::ServerWriteReactor<grpc::ByteBuffer>* TransferService::Download(grpc::CallbackServerContext* context,
                                                                      const grpc::ByteBuffer* request) {
  absl::StatusOr<Identity> caller = authorisation_->SiteOrOperator(*context);
  if (!caller.ok()) {
    return new RefusedDownload(caller.status());
  }
  // Deserialize consumes its buffer; a copy shares the bytes.
  grpc::ByteBuffer encoded = *request;
  v1::DownloadRequest decoded;
  if (!grpc::SerializationTraits<v1::DownloadRequest>::Deserialize(&encoded, &decoded).ok()) {
    return new RefusedDownload(absl::InvalidArgumentError("what arrived is not a DownloadRequest"));
  }
  return downloads_.Open(context, *std::move(caller), Authorisation::WorkerSecretOf(*context), std::move(decoded));
}

void TransferService::Sweep() {
  uploads_.Sweep();
  downloads_.Sweep();
  bulk_.PostAfter(sweep_interval_, [this] { Sweep(); });
}

}  // namespace tributary::coordinator
