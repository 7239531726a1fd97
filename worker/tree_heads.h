// The heads of the coordinator's audit log that this worker was told of: kept, and each later one must continue the newest.
//
// In its state folder: audit/heads.jsonl and audit/heads.1.jsonl, one head a line (TreeHead as JSON), the older file first; and
// audit/evidence.json, once the coordinator has contradicted itself. `tributary audit verify --heads` reads them.
#ifndef TRIBUTARY_WORKER_TREE_HEADS_H_
#define TRIBUTARY_WORKER_TREE_HEADS_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "tributary/v1/audit.pb.h"
#include "tributary/v1/config.pb.h"

namespace tributary::worker {

// Of each of the two files.
inline constexpr uint64_t kMaxHeadsFile = uint64_t{1} << 20;

// Not thread-safe.
class TreeHeads {
 public:
  struct Options {
    std::string state_dir;
    std::string federation;
    // The CA in force (PEM): who may have issued the coordinator's certificate.
    std::function<std::string()> ca;
    v1::Audit::OnContradiction on_contradiction = v1::Audit::STOP;
  };

  // FailedPrecondition, exit code kLogRewritten: there is evidence that nobody has settled (not with GO_ON). What cannot be read as a head
  // is none. Errors of files, exit code kStorage.
  static absl::StatusOr<TreeHeads> Open(Options options);

  // Of the newest; 0: none.
  uint64_t size() const { return newest_.has_value() ? newest_->size() : 0; }
  const std::optional<v1::TreeHead>& newest() const { return newest_; }

  // Checks the signature, and that the log continues the one held, and keeps the head. An error: the worker must not go on with this
  // coordinator. Exit code kLogRewritten: what contradicts is kept as evidence, with what it contradicts (with GO_ON that is no error, and
  // the head is kept); kCredentials: the head is not the coordinator's. `now`: for the evidence.
  absl::Status Take(const v1::TreeHeadUpdate& update, absl::Time now);

 private:
  explicit TreeHeads(Options options) : options_(std::move(options)) {}
  std::string File(const char* name) const;
  bool GoesOn() const { return options_.on_contradiction == v1::Audit::GO_ON; }
  absl::Status Check(const v1::TreeHeadUpdate& update, const v1::TreeHead& head) const;
  absl::Status Keep(const v1::TreeHead& head);
  absl::Status KeepEvidence(const v1::TreeHeadUpdate& update, absl::string_view why, absl::Time now) const;

  Options options_;
  std::optional<v1::TreeHead> newest_;
};

}  // namespace tributary::worker

#endif  // TRIBUTARY_WORKER_TREE_HEADS_H_
