#include "coordinator/rpc/upload.h"

#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/exit_codes.h"
#include "common/log.h"
#include "common/status_macros.h"
#include "common/wire_size.h"
#include "coordinator/metrics.h"
#include "coordinator/rpc/grpc_status.h"

namespace tributary::coordinator {

// One stream. Frees itself after OnDone, on the bulk executor.
class Uploads::Call final : public grpc::ServerReadReactor<v1::UploadFrame> {
 public:
  Call(Uploads* uploads, Sender sender, v1::UploadProgress* response)
      : uploads_(uploads), sender_(std::move(sender)), site_(sender_.site), response_(response) {
    uploads_->bulk_->Post([this] {
      stream_ = ++uploads_->last_stream_;
      uploads_->calls_[stream_] = this;
      StartRead(&frame_);
    });
  }

  void OnReadDone(bool ok) override {
    uploads_->bulk_->Post([this, ok] { ReadDone(ok); });
  }
  void OnCancel() override {
    uploads_->bulk_->Post([this] { End(absl::CancelledError("the connection broke; resume the upload")); });
  }
  void OnDone() override {
    uploads_->bulk_->Post([this] {
      uploads_->calls_.erase(stream_);
      delete this;
    });
  }

  // On the bulk executor.
  Stream stream() const { return stream_; }
  const std::string& site() const { return site_; }
  const v1::UploadHeader& header() const { return header_; }
  bool ended() const { return ended_; }
  // Why it is to be ended, if it made too little progress although it was its turn: while it waits for room or for the coordinator's
  // answer it is not.
  absl::Status CheckProgress() {
    if (asking_ || uploads_->spools_.IsWaiting(stream_)) {
      idle_sweeps_ = slow_sweeps_ = 0;
      brought_ = 0;
      return absl::OkStatus();
    }
    if (++idle_sweeps_ > uploads_->options_.max_idle_sweeps) {
      return absl::DeadlineExceededError("the upload made no progress; ask for its progress and resume it");
    }
    if (++slow_sweeps_ <= uploads_->options_.max_idle_sweeps) {
      return absl::OkStatus();
    }
    slow_sweeps_ = 0;
    const uint64_t brought = std::exchange(brought_, 0);
    return brought >= uploads_->options_.min_bytes
               ? absl::OkStatus()
               : absl::DeadlineExceededError(absl::StrCat("the upload is too slow: ", brought, " bytes came where at least ",
                                                          uploads_->options_.min_bytes, " must; ask for its progress and resume it"));
  }

  // There is room: goes on with the frame that came with the header.
  void Admitted(UploadSpool* spool) {
    spool_ = spool;
    Take();
  }

  // Ends the call; its spool stays for a later one to resume.
  void End(const absl::Status& status) {
    if (ended_) {
      return;
    }
    ended_ = true;
    if (absl::IsDataLoss(status)) {
      uploads_->options_.metrics->CountRejection(RejectionReason::kChecksum);
      LogWarning("transfer", status.message(), LogField("site", site_));
    }
    spool_ = nullptr;
    uploads_->spools_.Release(stream_, uploads_->clock_->Now());
    // What it leaves may be dropped for others.
    uploads_->bulk_->Post([uploads = uploads_] { uploads->AdmitWaiting(); });
    if (!asking_) {
      Finish(ToGrpcStatus(status));
    } else {
      // The coordinator is being asked; its answer comes to this object.
      pending_end_ = status;
    }
  }

 private:
  void ReadDone(bool ok) {
    if (ended_) {
      return;
    }
    if (!ok) {
      End(absl::InvalidArgumentError(absl::StrCat("the upload broke off at byte ", spool_ == nullptr ? 0 : spool_->received_bytes(),
                                                  "; ask for its progress and resume it")));
      return;
    }
    idle_sweeps_ = 0;
    // Counted, and a sign of the worker's life, if it is the worker that sends it.
    uploads_->executor_->Post(
        [coordinator = uploads_->coordinator_, site = site_, secret = sender_.worker_secret, bytes = WireSize(frame_.ByteSizeLong())] {
          if (coordinator->CheckWorker(site, secret).ok()) {
            coordinator->CountBytes(site, ByteDirection::kUp, ByteKind::kUpdate, bytes);
          }
        });
    if (spool_ != nullptr) {
      Take();
    } else {
      Begin();
    }
  }

  // The first frame: its header is checked by the coordinator before anything is kept of it.
  void Begin() {
    if (!frame_.has_header()) {
      End(absl::InvalidArgumentError("upload: the first frame has no header"));
      return;
    }
    header_ = frame_.header();
    if (const absl::Status status = UploadSpool::CheckHeader(header_); !status.ok()) {
      End(status);
      return;
    }
    if (uploads_->spools_.IsSettling(site_)) {
      End(absl::UnavailableError("the last upload of this site is still being checked; send this one after it"));
      return;
    }
    if (uploads_->Progress(site_, header_.id()).complete()) {
      // The answer to the first time was lost.
      Succeed();
      return;
    }
    if (header_.has_signature() && sender_.certificates != nullptr) {
      proof_ = CheckUpdate({.federation = sender_.federation,
                            .site = site_,
                            .run_id = header_.id().run_id(),
                            .round = header_.id().round(),
                            .base_state_hash = header_.base_state_hash(),
                            .payload_sha256 = header_.id().sha256()},
                           header_.signature(), sender_.certificates);
    }
    Ask(
        uploads_->executor_,
        [this]() -> absl::StatusOr<std::unique_ptr<UploadPlace>> {
          TRIBUTARY_RETURN_IF_ERROR(uploads_->coordinator_->CheckWorker(site_, sender_.worker_secret));
          return uploads_->coordinator_->CheckUpload(site_, header_, proof_);
        },
        [this](absl::StatusOr<std::unique_ptr<UploadPlace>> place) {
          if (place.ok()) {
            uploads_->Admit(this, *std::move(place));
          } else {
            End(place.status());
          }
        });
  }

  // Takes the frame into the spool.
  void Take() {
    const uint64_t bytes = frame_.data().size();
    if (!uploads_->spools_.HasRoom(stream_, bytes)) {
      return;  // AdmitWaiting goes on with this frame
    }
    brought_ += bytes;
    if (const absl::Status status = spool_->Append(frame_); !status.ok()) {
      if (ExitCodeOf(status) == ExitCode::kStorage) {
        uploads_->spools_.Discard(stream_);
        End(NotKept(status));
      } else {
        End(status);
      }
    } else if (!spool_->complete()) {
      StartRead(&frame_);
    } else {
      Complete();
    }
  }

  void Complete() {
    spool_ = nullptr;
    absl::StatusOr<UploadSpool::Content> content = uploads_->spools_.TakeOut(stream_);
    if (!content.ok()) {
      uploads_->AdmitWaiting();
      End(content.status());
      return;
    }
    if (content->place == nullptr) {
      Offer({.bytes = std::move(content->bytes)});
      return;
    }
    // It may take as long as writing the whole file; the frames of others go on meanwhile.
    Ask(
        uploads_->disk_,
        [place = std::shared_ptr<UploadPlace>(std::move(content->place))]() -> absl::StatusOr<std::shared_ptr<UploadedPayload>> {
          TRIBUTARY_RETURN_IF_ERROR(place->writer->Finish());
          return std::make_shared<UploadedPayload>(UploadedPayload{.file = place->file, .norm = place->measure()});
        },
        [this](const absl::StatusOr<std::shared_ptr<UploadedPayload>>& payload) {
          if (payload.ok()) {
            Offer(std::move(**payload));
          } else {
            Settle(NotKept(payload.status()));
          }
        });
  }

  // What the disk said is not the site's fault: it is to try again.
  absl::Status NotKept(const absl::Status& why) const {
    LogWarning("transfer", "an upload cannot be kept: ", why.message(), LogField("site", site_));
    return absl::UnavailableError("the coordinator cannot keep the upload now; send it again");
  }

  void Offer(UploadedPayload payload) {
    payload.proof = proof_;
    Ask(
        uploads_->executor_,
        [this, moved = std::make_shared<UploadedPayload>(std::move(payload))] {
          return uploads_->coordinator_->UploadCompleted(site_, header_, std::move(*moved));
        },
        [this](const absl::Status& status) { Settle(status); });
  }

  void Settle(const absl::Status& status) {
    uploads_->spools_.Answered(stream_, status);
    uploads_->AdmitWaiting();
    if (status.ok()) {
      Succeed();
    } else {
      End(status);
    }
  }

  void Succeed() {
    if (ended_) {
      return;
    }
    response_->set_received_bytes(header_.total_bytes());
    response_->set_complete(true);
    End(absl::OkStatus());
  }

  // Runs `question` on that executor and `answer` with its result here. Whatever happens to the call meanwhile, it is not finished before
  // the answer is in, so that this object is there for it.
  template <typename Question, typename Answer>
  void Ask(SerialExecutor* executor, Question question, Answer answer) {
    asking_ = true;
    executor->Post([this, question = std::move(question), answer = std::move(answer)] {
      auto result = std::make_shared<decltype(question())>(question());
      uploads_->bulk_->Post([this, result, answer] {
        asking_ = false;
        answer(std::move(*result));
        // An answer may have been another question.
        if (!asking_ && pending_end_.has_value()) {
          Finish(ToGrpcStatus(*std::exchange(pending_end_, std::nullopt)));
        }
      });
    });
  }

  Uploads* const uploads_;
  const Sender sender_;
  const std::string& site_;
  v1::UploadProgress* const response_;
  Stream stream_ = 0;
  v1::UploadFrame frame_;
  v1::UploadHeader header_;
  UpdateProof proof_;             // of the header's signature
  UploadSpool* spool_ = nullptr;  // once admitted
  bool asking_ = false;
  bool ended_ = false;
  std::optional<absl::Status> pending_end_;
  int idle_sweeps_ = 0;   // since a frame came
  int slow_sweeps_ = 0;   // since it was last found fast enough
  uint64_t brought_ = 0;  // bytes of data since then
};

grpc::ServerReadReactor<v1::UploadFrame>* Uploads::Open(Sender sender, v1::UploadProgress* response) {
  return new Call(this, std::move(sender), response);
}

void Uploads::Admit(Call* call, std::unique_ptr<UploadPlace> place) {
  if (call->ended()) {
    return;
  }
  const UploadSpools::Admission admission = spools_.Admit(call->stream(), call->site(), call->header(), std::move(place));
  if (admission.replaced.has_value()) {
    calls_.at(*admission.replaced)->End(absl::AbortedError("replaced by a newer upload of the same site"));
  }
  if (admission.spool != nullptr) {
    call->Admitted(admission.spool);
  }
}

void Uploads::AdmitWaiting() {
  for (const auto& [stream, spool] : spools_.AdmitWaiting()) {
    calls_.at(stream)->Admitted(spool);
  }
}

void Uploads::Sweep() {
  std::vector<Call*> calls;
  for (const auto& [stream, call] : calls_) {
    calls.push_back(call);
  }
  for (Call* const call : calls) {
    if (const absl::Status progress = call->ended() ? absl::OkStatus() : call->CheckProgress(); !progress.ok()) {
      call->End(progress);
    }
  }
  for (const std::string& site : spools_.DropIdle(clock_->Now())) {
    LogInfo("transfer", "dropped a partial upload that nobody resumed", LogField("site", site));
  }
  AdmitWaiting();
}

}  // namespace tributary::coordinator
