// Uploads and downloads, frame by frame, as coordinator/rpc/ and worker/session_client.cc do them: resumed where the
// last attempt got to.
#include <algorithm>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/checksum.h"
#include "common/wire_size.h"
#include "sim/network_parts.h"
#include "sim/recording.h"

namespace tributary::sim {
namespace {

bool SameUpload(const v1::UploadId& a, const v1::UploadId& b) {
  return a.run_id() == b.run_id() && a.round() == b.round() && a.sha256() == b.sha256();
}

}  // namespace

// Whether the coordinator that this transfer talks to is still there.
bool Network::Reaches(const Transfer& transfer) const {
  return coordinator_->up() && coordinator_->life() == transfer.life;
}

void Network::EndTransfer(const std::shared_ptr<Transfer>& transfer, const absl::Status& status, absl::Duration delay) {
  ToSite(transfer->site, "transfer ends", delay, [this, transfer, status] {
    if (std::exchange(transfer->over, true)) {
      return;
    }
    Site& site = sites_.at(transfer->site);
    site.transfers.erase(transfer->number);
    if (world_->tracing) {
      world_->Trace(transfer->site,
                    absl::StrCat(transfer->payload != nullptr ? "upload " : "download ", transfer->number, ": ", status.ToString()));
    }
    if (transfer->payload != nullptr) {
      world_->Record(site.name, [&] { return absl::StrCat(transfer->number, " uploaded ", CodeName(status), " ", transfer->held); });
      site.port->OnUploaded(transfer->number, status, transfer->held);
      return;
    }
    const uint64_t arrived = site.partial_request == transfer->request.SerializeAsString() ? site.partial_bytes.size() : 0;
    if (!status.ok()) {
      if (absl::IsDataLoss(status) || absl::IsFailedPrecondition(status) || absl::IsOutOfRange(status) || absl::IsNotFound(status)) {
        site.partial_bytes.clear();
      }
      world_->Record(site.name, [&] { return absl::StrCat(transfer->number, " downloaded ", CodeName(status), " ", arrived); });
      site.port->OnDownloaded(transfer->number, status, arrived);
      return;
    }
    world_->Record(site.name,
                   [&] { return absl::StrCat(transfer->number, " downloaded OK ", arrived, " ", absl::Base64Escape(site.partial_bytes)); });
    site.port->OnDownloaded(transfer->number, std::exchange(site.partial_bytes, {}), arrived);
  });
}

void Network::CancelTransfer(int site, uint64_t transfer) {
  auto& transfers = sites_.at(site).transfers;
  if (const auto it = transfers.find(transfer); it != transfers.end()) {
    world_->Record(sites_.at(site).name, [&] { return absl::StrCat(transfer, " cancels"); });
    it->second->over = true;
    transfers.erase(it);
  }
}

void Network::Upload(int site, uint64_t number, const v1::UploadHeader& header, std::shared_ptr<const std::string> payload) {
  auto transfer = std::make_shared<Transfer>();
  transfer->site = site;
  transfer->number = number;
  transfer->unique = world_->random.Next();
  transfer->header = header;
  transfer->payload = std::move(payload);
  world_->Record(sites_.at(site).name,
                 [&] { return absl::StrCat(number, " uploads ", absl::Base64Escape(*transfer->payload), " ", RecordedJson(header)); });
  sites_.at(site).transfers[number] = transfer;
  world_->After(Delay(site), "upload asks", site, [this, transfer] { AskProgress(transfer); });
}

void Network::AskProgress(const std::shared_ptr<Transfer>& transfer) {
  if (transfer->over) {
    return;
  }
  if (!coordinator_->up()) {
    return EndTransfer(transfer, absl::UnavailableError("connection refused"), Delay(transfer->site));
  }
  transfer->life = coordinator_->life();
  const std::string& name = sites_.at(transfer->site).name;
  if (const auto found = coordinator_->spools.find(name);
      found != coordinator_->spools.end() && SameUpload(found->second.header.id(), transfer->header.id())) {
    transfer->offset = transfer->held = found->second.payload.size();
  } else if (const auto done = coordinator_->completed.find(name);
             done != coordinator_->completed.end() && SameUpload(done->second, transfer->header.id())) {
    return EndTransfer(transfer, absl::OkStatus(), Delay(transfer->site));
  }
  ToSite(transfer->site, "upload begins", Delay(transfer->site), [this, transfer] { SendFrame(transfer); });
}

void Network::SendFrame(const std::shared_ptr<Transfer>& transfer) {
  if (transfer->over) {
    return;
  }
  if (world_->random.Chance(conditions.breaks)) {
    world_->CountFault("broken transfers");
    return EndTransfer(transfer, absl::UnavailableError("the connection broke"),
                       world_->random.Between(absl::Milliseconds(10), absl::Seconds(3)));
  }
  const bool corrupt = world_->random.Chance(conditions.corrupts);
  if (corrupt) {
    world_->CountFault("corrupted frames");
  }
  const uint64_t size = std::min<uint64_t>(conditions.frame_bytes, transfer->payload->size() - transfer->offset);
  const Frame frame = {.offset = transfer->offset, .size = size, .first = !transfer->header_sent, .corrupt = corrupt};
  transfer->header_sent = true;
  world_->After(Delay(transfer->site), "frame up", transfer->site, [this, transfer, frame] { FrameArrives(transfer, frame); });
  transfer->offset += size;
}

absl::StatusOr<bool> Network::TakeFrame(Transfer& transfer, const Frame& frame) {
  const std::string& name = sites_.at(transfer.site).name;
  coordinator_->get()->CountBytes(name, ByteDirection::kUp, ByteKind::kUpdate, WireSize(frame.size + 64));
  if (frame.first) {
    if (const auto done = coordinator_->completed.find(name);
        done != coordinator_->completed.end() && SameUpload(done->second, transfer.header.id())) {
      return true;
    }
    absl::StatusOr<std::unique_ptr<coordinator::UploadPlace>> checked = absl::UnavailableError("the connection was reset");
    world_->Record("coordinator", [&] { return absl::StrCat(name, " checks ", RecordedJson(transfer.header)); });
    coordinator_->Call([&](coordinator::Coordinator& coordinator) { checked = coordinator.CheckUpload(name, transfer.header); });
    world_->Record("coordinator", [&] { return absl::StrCat(name, " answers ", CodeName(checked.status())); });
    if (!Reaches(transfer)) {
      return absl::UnavailableError("the connection was reset");
    }
    if (!checked.ok()) {
      return checked.status();
    }
    Spool& spool = coordinator_->spools[name];
    if (!SameUpload(spool.header.id(), transfer.header.id())) {
      spool = Spool{transfer.header, "", *std::move(checked), 0};
    }
    spool.owner = transfer.unique;
  }
  const auto found = coordinator_->spools.find(name);
  if (found == coordinator_->spools.end() || found->second.owner != transfer.unique) {
    return absl::AbortedError("replaced by a newer upload of the same site");
  }
  Spool& spool = found->second;
  if (frame.offset != spool.payload.size()) {
    return absl::OutOfRangeError(absl::StrCat("frame at offset ", frame.offset, ", but ", spool.payload.size(), " bytes have arrived"));
  }
  if (frame.corrupt) {
    return absl::DataLossError("the frame fails its CRC-32C; send it again");
  }
  spool.payload.append(*transfer.payload, frame.offset, frame.size);
  if (spool.payload.size() < spool.header.total_bytes()) {
    return false;
  }
  const std::string payload = std::move(spool.payload);
  const std::unique_ptr<coordinator::UploadPlace> place = std::move(spool.place);
  coordinator_->spools.erase(found);
  if (DigestBytes(Sha256(payload)) != transfer.header.id().sha256()) {
    return absl::DataLossError("the whole fails its SHA-256; send it again from the start");
  }
  absl::Status done;
  world_->Record("coordinator",
                 [&] { return absl::StrCat(name, " takes ", absl::Base64Escape(payload), " ", RecordedJson(transfer.header)); });
  coordinator_->Call([&](coordinator::Coordinator& coordinator) {
    if (place == nullptr) {
      done = coordinator.UploadCompleted(name, transfer.header, {payload, ""});
      return;
    }
    done = place->writer->Append(payload);
    if (done.ok()) {
      done = place->writer->Finish();
    }
    // As rpc/upload.cc says it.
    done = done.ok() ? coordinator.UploadCompleted(name, transfer.header, {"", place->file, place->measure()})
                     : absl::UnavailableError("the coordinator cannot keep the upload now; send it again");
  });
  world_->Record("coordinator", [&] { return absl::StrCat(name, " answers ", CodeName(done)); });
  if (!Reaches(transfer)) {
    return absl::UnavailableError("the connection was reset");
  }
  if (!done.ok()) {
    return done;
  }
  coordinator_->completed[name] = transfer.header.id();
  if (world_->random.Chance(conditions.repeats_uploads)) {
    world_->CountFault("repeated uploads");
    world_->After(Delay(transfer.site), "upload again", transfer.site,
                  [this, name, life = transfer.life, header = transfer.header, payload] {
                    if (coordinator_->up() && coordinator_->life() == life) {
                      coordinator_->Call([&](coordinator::Coordinator& coordinator) {
                        coordinator.UploadCompleted(name, header, {payload, ""}).IgnoreError();  // the site waits for no other answer
                      });
                    }
                  });
  }
  return true;
}

void Network::FrameArrives(const std::shared_ptr<Transfer>& transfer, const Frame& frame) {
  if (transfer->over) {
    return;
  }
  if (!Reaches(*transfer)) {
    return EndTransfer(transfer, absl::UnavailableError("the connection was reset"), Delay(transfer->site));
  }
  const absl::StatusOr<bool> complete = TakeFrame(*transfer, frame);
  if (!complete.ok() || *complete) {
    // The answer may be lost: the worker then sends again what the coordinator has.
    const bool lost = world_->random.Chance(conditions.breaks);
    return EndTransfer(transfer, lost ? absl::UnavailableError("the connection broke") : complete.status(), Delay(transfer->site));
  }
  ToSite(transfer->site, "frame taken", absl::ZeroDuration(), [this, transfer] { SendFrame(transfer); });
}

void Network::Download(int site, uint64_t number, const v1::DownloadRequest& request, uint64_t max_bytes) {
  auto transfer = std::make_shared<Transfer>();
  transfer->site = site;
  transfer->number = number;
  transfer->request = request;
  transfer->max_bytes = max_bytes;
  world_->Record(sites_.at(site).name, [&] { return absl::StrCat(number, " downloads ", RecordedJson(request)); });
  sites_.at(site).transfers[number] = transfer;
  world_->After(Delay(site), "download asks", site, [this, transfer] { OpenDownload(transfer); });
}

void Network::OpenDownload(const std::shared_ptr<Transfer>& transfer) {
  if (transfer->over) {
    return;
  }
  if (!coordinator_->up()) {
    return EndTransfer(transfer, absl::UnavailableError("connection refused"), Delay(transfer->site));
  }
  transfer->life = coordinator_->life();
  absl::StatusOr<SharedBytes> bytes = absl::UnavailableError("the connection was reset");
  const std::string& name = sites_.at(transfer->site).name;
  world_->Record("coordinator", [&] { return absl::StrCat(name, " serves ", RecordedJson(transfer->request)); });
  coordinator_->Call([&](coordinator::Coordinator& coordinator) {
    bytes = coordinator.OpenDownload(transfer->request, sites_.at(transfer->site).name);
    if (bytes.ok()) {
      if (const absl::Status whole = coordinator.DigestOfDownload(transfer->request, **bytes).status(); !whole.ok()) {
        bytes = whole;
      }
    }
  });
  world_->Record("coordinator", [&] {
    return absl::StrCat(name, " answers ", CodeName(bytes.status()), bytes.ok() ? " " : "",
                        bytes.ok() ? absl::Base64Escape(*ReadAll(**bytes)) : "");
  });
  if (bytes.ok() && (*bytes)->size() > transfer->max_bytes) {
    bytes = absl::FailedPreconditionError(absl::StrCat("the download has ", (*bytes)->size(), " bytes, allowed are ", transfer->max_bytes));
  }
  if (!bytes.ok()) {
    return EndTransfer(transfer, bytes.status(), Delay(transfer->site));
  }
  transfer->bytes = *std::move(bytes);
  Site& site = sites_.at(transfer->site);
  std::string request = transfer->request.SerializeAsString();
  if (site.partial_request != request) {
    site.partial_request = std::move(request);
    site.partial_bytes.clear();
  } else if (!site.partial_bytes.empty() && site.partial_total != transfer->bytes->size()) {
    return EndTransfer(transfer, absl::DataLossError("the download had another length"), Delay(transfer->site));
  }
  site.partial_total = transfer->bytes->size();
  NextDownloadFrame(transfer);
}

void Network::NextDownloadFrame(const std::shared_ptr<Transfer>& transfer) {
  if (transfer->over) {
    return;
  }
  if (!Reaches(*transfer)) {
    return EndTransfer(transfer, absl::UnavailableError("the connection was reset"), Delay(transfer->site));
  }
  if (world_->random.Chance(conditions.breaks)) {
    world_->CountFault("broken transfers");
    return EndTransfer(transfer, absl::UnavailableError("the connection broke"),
                       world_->random.Between(absl::Milliseconds(10), absl::Seconds(3)));
  }
  if (world_->random.Chance(conditions.corrupts)) {
    world_->CountFault("corrupted frames");
    return EndTransfer(transfer, absl::DataLossError("a frame fails its checksum"), Delay(transfer->site));
  }
  Site& site = sites_.at(transfer->site);
  const uint64_t offset = site.partial_bytes.size();
  const uint64_t size = std::min<uint64_t>(conditions.frame_bytes, transfer->bytes->size() - offset);
  const auto kind = transfer->request.has_commits() ? ByteKind::kCommit : ByteKind::kSnapshot;
  coordinator_->get()->CountBytes(site.name, ByteDirection::kDown, kind, WireSize(size + 32));
  ToSite(transfer->site, "frame down", Delay(transfer->site), [this, transfer, offset, size] {
    Site& place = sites_.at(transfer->site);
    if (transfer->over || place.partial_bytes.size() != offset) {
      return;
    }
    std::string scratch;
    absl::StrAppend(&place.partial_bytes, *transfer->bytes->Slice(offset, size, scratch));
    if (place.partial_bytes.size() == transfer->bytes->size()) {
      place.partial_request.clear();
      // A log that was taken back serves other bytes of the same length, perhaps.
      const bool whole = place.partial_bytes == *ReadAll(*transfer->bytes);
      EndTransfer(transfer, whole ? absl::OkStatus() : absl::DataLossError("the download fails its SHA-256"), absl::ZeroDuration());
    } else {
      NextDownloadFrame(transfer);
    }
  });
}

}  // namespace tributary::sim
