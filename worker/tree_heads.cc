#include "worker/tree_heads.h"

#include <google/protobuf/util/json_util.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/exit_codes.h"
#include "common/files.h"
#include "common/log.h"
#include "common/status_macros.h"
#include "proto/audit/tree_head.h"

namespace tributary::worker {
namespace {

// A log that grows to a hundred million records has proofs of 27 hashes; a head has at most a few certificates.
constexpr int kMaxLine = 64 << 10;

std::string Json(const google::protobuf::Message& message) {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  std::string json;
  return google::protobuf::util::MessageToJsonString(message, &json, options).ok() ? json : "{}";
}

std::optional<v1::TreeHead> LastHeadIn(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::string last;
  while (std::getline(file, line)) {
    if (!line.empty() && line.size() <= kMaxLine) {
      last = std::move(line);
    }
  }
  v1::TreeHead head;
  const bool read = !last.empty() && google::protobuf::util::JsonStringToMessage(last, &head).ok() && RootOf(head).ok();
  return read ? std::make_optional(std::move(head)) : std::nullopt;
}

absl::Status Rewritten(absl::string_view what) {
  return WithExitCode(absl::FailedPreconditionError(what), ExitCode::kLogRewritten);
}

}  // namespace

std::string TreeHeads::File(const char* name) const {
  return absl::StrCat(options_.state_dir, "/audit/", name);
}

absl::StatusOr<TreeHeads> TreeHeads::Open(Options options) {
  TreeHeads heads(std::move(options));
  TRIBUTARY_RETURN_IF_ERROR(MakeDirectories(heads.File("")));
  std::error_code unknown;
  if (!heads.GoesOn() && std::filesystem::exists(heads.File("evidence.json"), unknown)) {
    return Rewritten(absl::StrCat("the coordinator's audit log has contradicted what this site holds of it, and ",
                                  heads.File("evidence.json"),
                                  " is the proof; this worker takes no part until that is settled with whoever runs the coordinator. Then "
                                  "move the folder ",
                                  heads.File(""), " away and start again"));
  }
  for (const char* const name : {"heads.jsonl", "heads.1.jsonl"}) {
    if (heads.newest_ = LastHeadIn(heads.File(name)); heads.newest_.has_value()) {
      break;
    }
  }
  return heads;
}

absl::Status TreeHeads::Check(const v1::TreeHeadUpdate& update, const v1::TreeHead& head) const {
  TRIBUTARY_RETURN_IF_ERROR(VerifyTreeHead(head, options_.federation, options_.ca()));
  if (!newest_.has_value()) {
    return RootOf(head).status();
  }
  if (head.size() < newest_->size()) {
    return Rewritten(
        absl::StrCat("the coordinator's audit log has ", head.size(), " records, and had ", newest_->size(), " before: it was taken back"));
  }
  if (const absl::Status continues = VerifyContinues(*newest_, head, update.consistency()); !continues.ok()) {
    return Rewritten(absl::StrCat("the coordinator's audit log of ", head.size(), " records does not continue the one of ", newest_->size(),
                                  " that this site holds: ", continues.message()));
  }
  return absl::OkStatus();
}

absl::Status TreeHeads::Take(const v1::TreeHeadUpdate& update, absl::Time now) {
  v1::TreeHead head = update.head();
  if (head.certificates_size() == 0 && newest_.has_value()) {
    *head.mutable_certificates() = newest_->certificates();
  }
  absl::Status good = Check(update, head);
  if (ExitCodeOf(good) == ExitCode::kLogRewritten) {
    const absl::Status kept = KeepEvidence(update, good.message(), now);
    good = Annotate(good, kept.ok() ? absl::StrCat("alarm (evidence in ", File("evidence.json"), ")") : kept.message());
    if (GoesOn()) {
      LogError("worker", good.message(), "; it goes on, as `audit_contradiction: go_on` says");
      good = absl::OkStatus();
    }
  }
  TRIBUTARY_RETURN_IF_ERROR(good);
  // At the start of every session the last one comes again.
  const bool is_known = newest_.has_value() && newest_->root_hash() == head.root_hash();
  newest_ = std::move(head);
  return is_known ? absl::OkStatus() : Keep(*newest_);
}

absl::Status TreeHeads::Keep(const v1::TreeHead& head) {
  std::error_code absent;
  if (const auto size = std::filesystem::file_size(File("heads.jsonl"), absent); !absent && size >= kMaxHeadsFile) {
    if (std::rename(File("heads.jsonl").c_str(), File("heads.1.jsonl").c_str()) != 0) {
      return StorageError("put aside", File("heads.jsonl"), errno);
    }
  }
  return AppendToFile(File("heads.jsonl"), Json(head) + "\n", 0600);
}

absl::Status TreeHeads::KeepEvidence(const v1::TreeHeadUpdate& update, absl::string_view why, absl::Time now) const {
  const auto as_json = [](const google::protobuf::Message& message) {
    return nlohmann::ordered_json::parse(Json(message), nullptr, /*allow_exceptions=*/false);
  };
  const nlohmann::ordered_json evidence = {
      {"at", absl::FormatTime(absl::RFC3339_sec, now, absl::UTCTimeZone())},
      {"why", std::string(why)},
      {"held", newest_.has_value() ? as_json(*newest_) : nlohmann::ordered_json()},
      {"offered", as_json(update)},
  };
  return WriteFileAtomically(File("evidence.json"), evidence.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n",
                             0600);
}

}  // namespace tributary::worker
