#include "worker/sent_log.h"

#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/bytes.h"
#include "common/status_macros.h"
#include "optim/sealed_state.h"

namespace tributary::worker {
namespace {

constexpr absl::string_view kKind = "sent";
// Only the newest record counts: a log of this length begins anew.
constexpr uint64_t kMaxBytes = uint64_t{16} << 20;
// Against reading something else without end.
constexpr uint64_t kMaxReadBytes = kMaxBytes + 2 * kMaxLoggedPayload;

std::string FileOf(const StateOwner& owner) {
  return absl::StrCat(owner.run_id, kSentSuffix);
}

// Nothing: not a record of this site and model, or damaged.
std::optional<PendingUpdate> Decode(const StateOwner& owner, absl::string_view record) {
  const absl::StatusOr<absl::string_view> body = optim::OpenState(kKind, *owner.layout, record);
  if (!body.ok()) {
    return std::nullopt;
  }
  ByteReader reader(*body);
  PendingUpdate update;
  absl::string_view site, base_hash, sha256, report;
  uint8_t kept = 0;
  const bool whole = reader.ReadField<uint32_t>(site) && reader.Read(update.round) && reader.ReadField<uint64_t>(base_hash) &&
                     reader.ReadField<uint64_t>(sha256) && reader.ReadField<uint64_t>(report) && reader.Read(kept) && kept <= 1;
  if (!whole || site != owner.site || !update.update.report.ParseFromArray(report.data(), static_cast<int>(report.size()))) {
    return std::nullopt;
  }
  update.base_hash = std::string(base_hash);
  update.update.sha256 = std::string(sha256);
  if (kept == 1) {
    update.update.payload = std::make_shared<const std::string>(reader.rest());
  }
  return update;
}

}  // namespace

absl::StatusOr<SentSince> SentLog::Open() {
  SentSince sent;
  const absl::StatusOr<std::string> bytes = store_->Read(FileOf(owner_), kMaxReadBytes);
  if (absl::IsNotFound(bytes.status())) {
    return sent;
  }
  TRIBUTARY_RETURN_IF_ERROR(bytes.status());
  sent.any = replace_ = !bytes->empty();
  bytes_ = bytes->size();
  ByteReader reader(*bytes);
  absl::string_view record;
  while (reader.ReadField<uint32_t>(record)) {
    std::optional<PendingUpdate> update = Decode(owner_, record);
    if (!update.has_value()) {
      break;
    }
    sent.newest = std::move(update);
  }
  return sent;
}

absl::Status SentLog::Append(const PendingUpdate& update) {
  const std::string record = Encode(update);
  replace_ = replace_ || bytes_ + record.size() > kMaxBytes;
  TRIBUTARY_RETURN_IF_ERROR(replace_ ? store_->Write(FileOf(owner_), record) : store_->Append(FileOf(owner_), record));
  bytes_ = record.size() + (replace_ ? 0 : bytes_);
  replace_ = false;
  return absl::OkStatus();
}

absl::Status SentLog::Clear() {
  if (bytes_ == 0) {
    return absl::OkStatus();
  }
  TRIBUTARY_RETURN_IF_ERROR(store_->Write(FileOf(owner_), ""));
  bytes_ = 0;
  replace_ = false;
  return absl::OkStatus();
}

std::string SentLog::Encode(const PendingUpdate& update) const {
  const bool kept = update.update.payload->size() <= max_payload_;
  std::string head;
  AppendField<uint32_t>(owner_.site, head);
  AppendLittleEndian(update.round, head);
  AppendField<uint64_t>(update.base_hash, head);
  AppendField<uint64_t>(update.update.sha256, head);
  AppendField<uint64_t>(update.update.report.SerializeAsString(), head);
  AppendLittleEndian(static_cast<uint8_t>(kept ? 1 : 0), head);
  const std::string sealed =
      optim::SealState(kKind, *owner_.layout, {head, kept ? absl::string_view(*update.update.payload) : absl::string_view()});
  std::string record;
  AppendField<uint32_t>(sealed, record);
  return record;
}

}  // namespace tributary::worker
