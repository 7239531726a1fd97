#include "coordinator/audit/head_publisher.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "common/log.h"
#include "common/status_macros.h"

namespace tributary::coordinator {
namespace {

HeadPublisher::Message MessageOf(v1::TreeHeadUpdate update) {
  auto message = std::make_shared<v1::CoordinatorMessage>();
  *message->mutable_tree_head() = std::move(update);
  return message;
}

bool SameCertificates(const v1::TreeHead& a, const v1::TreeHead& b) {
  return std::equal(a.certificates().begin(), a.certificates().end(), b.certificates().begin(), b.certificates().end());
}

}  // namespace

absl::StatusOr<bool> HeadPublisher::Advance() {
  // Also after a failure: a key that cannot sign is not tried with every message.
  published_ = clock_.Now();
  TRIBUTARY_ASSIGN_OR_RETURN(v1::TreeHead head, log_.Head());
  if (const absl::Status is_signed = sign_(head); !is_signed.ok()) {
    LogError("coordinator", "the audit log's head cannot be signed, and is not published: ", is_signed.message());
    return false;
  }
  log_.KeepHead(head);
  last_ = std::move(head);
  return true;
}

absl::StatusOr<v1::TreeHeadUpdate> HeadPublisher::From(uint64_t size) {
  v1::TreeHeadUpdate update;
  *update.mutable_head() = *last_;
  if (size == 0 || size > last_->size()) {
    return update;
  }
  update.set_from_size(size);
  TRIBUTARY_ASSIGN_OR_RETURN(const std::vector<Digest> proof, log_.ProveConsistency(size, last_->size()));
  for (const Digest& hash : proof) {
    update.add_consistency(DigestBytes(hash));
  }
  return update;
}

absl::Status HeadPublisher::Publish(When when, Send send) {
  const bool due = when == When::kNow || clock_.Now() - published_ >= kHeadInterval;
  if (!due || !last_.has_value() || log_.size() == last_->size()) {
    return absl::OkStatus();
  }
  const v1::TreeHead before = *last_;
  TRIBUTARY_ASSIGN_OR_RETURN(const bool advanced, Advance());
  if (!advanced) {
    return absl::OkStatus();
  }
  TRIBUTARY_ASSIGN_OR_RETURN(v1::TreeHeadUpdate update, From(before.size()));
  if (SameCertificates(before, *last_)) {
    update.mutable_head()->clear_certificates();
  }
  const Message message = MessageOf(std::move(update));
  for (const std::string& site : takers_) {
    send(site, message);
  }
  return absl::OkStatus();
}

absl::Status HeadPublisher::Greet(const std::string& site, const v1::Hello& hello, Send send) {
  takers_.erase(site);
  if (!log_.kept() || !hello.has_audit_size()) {
    return absl::OkStatus();
  }
  if (!last_.has_value()) {
    // Nobody was greeted before, so nobody misses it.
    TRIBUTARY_ASSIGN_OR_RETURN(const bool advanced, Advance());
    if (!advanced) {
      return absl::OkStatus();
    }
  }
  TRIBUTARY_ASSIGN_OR_RETURN(v1::TreeHeadUpdate update, From(hello.audit_size()));
  takers_.insert(site);
  send(site, MessageOf(std::move(update)));
  return absl::OkStatus();
}

}  // namespace tributary::coordinator
