#include "coordinator/rpc/upload_spools.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/assert.h"
#include "common/status_macros.h"
#include "proto/wire_limits.h"

namespace tributary::coordinator {
namespace {

bool SameUpload(const v1::UploadId& a, const v1::UploadId& b) {
  return a.run_id() == b.run_id() && a.round() == b.round() && a.sha256() == b.sha256();
}

}  // namespace

absl::Status UploadSpool::CheckHeader(const v1::UploadHeader& header) {
  if (header.id().sha256().size() != kDigestBytes) {
    return absl::InvalidArgumentError("upload: the SHA-256 of the payload has 32 bytes");
  }
  if (header.total_bytes() == 0) {
    return absl::InvalidArgumentError("upload: total_bytes is 0");
  }
  return absl::OkStatus();
}

UploadSpool::UploadSpool(const v1::UploadHeader& header, std::unique_ptr<UploadPlace> place) : header_(header), place_(std::move(place)) {
  if (place_ == nullptr) {
    Reserve(std::min(kFirstReserve, header_.total_bytes()));
  }
}

uint64_t UploadSpool::MoreFor(uint64_t data_bytes) const {
  // An honest frame goes not beyond the total; Append refuses the others.
  const uint64_t total = header_.total_bytes();
  const uint64_t needed = received_ + std::min(data_bytes, total - received_);
  return place_ != nullptr || needed <= reserved_ ? 0 : std::min(total, std::max(needed, 2 * reserved_)) - reserved_;
}

void UploadSpool::Reserve(uint64_t more) {
  reserved_ += more;
  payload_.reserve(reserved_);
}

absl::Status UploadSpool::Append(const v1::UploadFrame& frame) {
  const uint64_t received = received_;
  const uint64_t total = header_.total_bytes();
  const std::string& data = frame.data();
  if (frame.offset() != received) {
    return absl::OutOfRangeError(absl::StrCat("upload: frame at offset ", frame.offset(), ", but ", received, " bytes have arrived"));
  }
  if (data.size() > kMaxFrameBytes) {
    return absl::InvalidArgumentError(absl::StrCat("upload: a frame of ", data.size(), " bytes; at most ", kMaxFrameBytes, " are allowed"));
  }
  if (data.size() > total - received) {
    return absl::InvalidArgumentError(absl::StrCat("upload: more data than the ", total, " bytes that the header names"));
  }
  if (data.empty() && received < total && !frame.has_header()) {
    return absl::InvalidArgumentError("upload: a frame without data");
  }
  if (Crc32c(data) != frame.crc32c()) {
    return absl::DataLossError(absl::StrCat("upload: the frame at offset ", received, " fails its CRC-32C; send it again"));
  }
  if (place_ != nullptr) {
    TRIBUTARY_RETURN_IF_ERROR(place_->writer->Append(data));
  } else {
    payload_.append(data);
  }
  received_ += data.size();
  hasher_.Update(data);
  return absl::OkStatus();
}

absl::StatusOr<UploadSpool::Content> UploadSpool::TakeContent() && {
  TRIBUTARY_ASSERT(complete(), received_bytes(), " of ", header_.total_bytes(), " bytes");
  if (DigestBytes(hasher_.Finish()) != header_.id().sha256()) {
    return absl::DataLossError("upload: the whole fails its SHA-256; send it again from the start");
  }
  return Content{std::move(payload_), std::move(place_)};
}

UploadSpools::Admission UploadSpools::Admit(Stream stream, const std::string& site, const v1::UploadHeader& header,
                                            std::unique_ptr<UploadPlace> place) {
  Admission admission;
  if (const auto entry = entries_.find(site); entry != entries_.end()) {
    UploadSpool& spool = entry->second->spool;
    admission.replaced = std::exchange(entry->second->stream, std::nullopt);
    if (SameUpload(spool.header().id(), header.id()) && spool.header().total_bytes() == header.total_bytes()) {
      entry->second->stream = stream;
      admission.spool = &spool;
      return admission;
    }
    Drop(entry);
  }
  // One that still waits would make a second spool of the site.
  const auto older = std::find_if(waiting_.begin(), waiting_.end(), [&](const Waiting& waiting) { return waiting.site == site; });
  if (older != waiting_.end()) {
    admission.replaced = older->stream;
    waiting_.erase(older);
  }
  if (place != nullptr || MakeRoom(std::min(UploadSpool::kFirstReserve, header.total_bytes()))) {
    admission.spool = Make(stream, site, header, std::move(place));
  } else {
    waiting_.push_back({stream, site, header});
  }
  return admission;
}

std::vector<UploadSpools::Admitted> UploadSpools::AdmitWaiting() {
  std::vector<Admitted> admitted;
  for (const Growing& growing : std::exchange(growing_, {})) {
    const auto entry = Find(growing.stream);
    if (entry != entries_.end() && Grow(*entry->second, growing.data_bytes)) {
      admitted.push_back({growing.stream, &entry->second->spool});
    } else if (entry != entries_.end()) {
      growing_.push_back(growing);
    }
  }
  for (Waiting& waiting : std::exchange(waiting_, {})) {
    if (MakeRoom(std::min(UploadSpool::kFirstReserve, waiting.header.total_bytes()))) {
      admitted.push_back({waiting.stream, Make(waiting.stream, waiting.site, waiting.header, nullptr)});
    } else {
      waiting_.push_back(std::move(waiting));
    }
  }
  return admitted;
}

bool UploadSpools::IsWaiting(Stream stream) const {
  const auto is_it = [stream](const auto& waiting) { return waiting.stream == stream; };
  return std::any_of(waiting_.begin(), waiting_.end(), is_it) || std::any_of(growing_.begin(), growing_.end(), is_it);
}

bool UploadSpools::HasRoom(Stream stream, uint64_t data_bytes) {
  const auto entry = Find(stream);
  TRIBUTARY_ASSERT(entry != entries_.end(), "stream ", stream, " has no spool");
  if (!Grow(*entry->second, data_bytes)) {
    growing_.push_back({stream, data_bytes});
    return false;
  }
  return true;
}

void UploadSpools::Release(Stream stream, absl::Time now) {
  if (const auto entry = Find(stream); entry != entries_.end()) {
    entry->second->stream.reset();
    entry->second->idle_since = now;
  }
  std::erase_if(waiting_, [stream](const Waiting& waiting) { return waiting.stream == stream; });
  std::erase_if(growing_, [stream](const Growing& growing) { return growing.stream == stream; });
}

absl::StatusOr<UploadSpool::Content> UploadSpools::TakeOut(Stream stream) {
  const auto entry = Find(stream);
  TRIBUTARY_ASSERT(entry != entries_.end(), "stream ", stream, " has no spool");
  UploadSpool& spool = entry->second->spool;
  const uint64_t memory = spool.memory_bytes();
  absl::StatusOr<UploadSpool::Content> content = std::move(spool).TakeContent();
  if (!content.ok()) {
    Drop(entry);
    return content;
  }
  taken_out_[stream] = {entry->first, spool.header().id(), memory, content->place != nullptr};
  entries_.erase(entry);
  return content;
}

void UploadSpools::Discard(Stream stream) {
  if (const auto entry = Find(stream); entry != entries_.end()) {
    Drop(entry);
  }
}

bool UploadSpools::IsSettling(const std::string& site) const {
  return std::any_of(taken_out_.begin(), taken_out_.end(),
                     [&site](const auto& taken) { return taken.second.in_file && taken.second.site == site; });
}

void UploadSpools::Answered(Stream stream, const absl::Status& answer) {
  const auto taken = taken_out_.find(stream);
  TRIBUTARY_ASSERT(taken != taken_out_.end(), "stream ", stream, " has nothing to settle");
  bytes_ -= taken->second.bytes;
  if (answer.ok()) {
    complete_[taken->second.site] = taken->second.id;
  }
  taken_out_.erase(taken);
}

std::vector<std::string> UploadSpools::DropIdle(absl::Time now) {
  std::vector<std::string> dropped;
  for (auto it = entries_.begin(); it != entries_.end();) {
    const auto entry = it++;
    if (!entry->second->stream.has_value() && now - entry->second->idle_since >= options_.max_idle) {
      dropped.push_back(entry->first);
      Drop(entry);
    }
  }
  return dropped;
}

v1::UploadProgress UploadSpools::Progress(const std::string& site, const v1::UploadId& id) const {
  v1::UploadProgress progress;
  if (const auto entry = entries_.find(site); entry != entries_.end() && SameUpload(entry->second->spool.header().id(), id)) {
    progress.set_received_bytes(entry->second->spool.received_bytes());
  } else if (const auto done = complete_.find(site); done != complete_.end() && SameUpload(done->second, id)) {
    progress.set_complete(true);
  }
  return progress;
}

UploadSpools::Entries::iterator UploadSpools::Find(Stream stream) {
  return std::find_if(entries_.begin(), entries_.end(), [stream](const auto& entry) { return entry.second->stream == stream; });
}

bool UploadSpools::MakeRoom(uint64_t bytes) {
  while (bytes_ > 0 && (bytes_ >= options_.max_bytes || bytes > options_.max_bytes - bytes_)) {
    auto oldest = entries_.end();
    for (auto it = entries_.begin(); it != entries_.end(); ++it) {
      if (!it->second->stream.has_value() && (oldest == entries_.end() || it->second->idle_since < oldest->second->idle_since)) {
        oldest = it;
      }
    }
    if (oldest == entries_.end()) {
      return false;
    }
    Drop(oldest);
  }
  return true;
}

bool UploadSpools::Grow(Entry& entry, uint64_t data_bytes) {
  const uint64_t more = entry.spool.MoreFor(data_bytes);
  if (more > 0 && !MakeRoom(more) && !IsFurthest(entry)) {
    return false;
  }
  entry.spool.Reserve(more);
  bytes_ += more;
  return true;
}

bool UploadSpools::IsFurthest(const Entry& entry) const {
  return std::none_of(entries_.begin(), entries_.end(), [&entry](const auto& other) {
    const UploadSpool& spool = other.second->spool;
    return other.second->stream.has_value() && spool.memory_bytes() > 0 && spool.received_bytes() > entry.spool.received_bytes();
  });
}

UploadSpool* UploadSpools::Make(Stream stream, const std::string& site, const v1::UploadHeader& header,
                                std::unique_ptr<UploadPlace> place) {
  auto entry = std::make_unique<Entry>(header, std::move(place));
  entry->stream = stream;
  bytes_ += entry->spool.memory_bytes();
  const auto [added, made] = entries_.emplace(site, std::move(entry));
  TRIBUTARY_ASSERT(made, "a second spool of ", site);
  return &added->second->spool;
}

void UploadSpools::Drop(Entries::iterator entry) {
  bytes_ -= entry->second->spool.memory_bytes();
  entries_.erase(entry);
}

}  // namespace tributary::coordinator
