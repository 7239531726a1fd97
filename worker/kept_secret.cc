#include "worker/kept_secret.h"

#include "absl/strings/str_cat.h"
#include "common/files.h"
#include "common/status_macros.h"
#include "common/worker_secret.h"

namespace tributary::worker {
namespace {

constexpr char kFile[] = "worker.secret";
constexpr uint64_t kMaxBytes = 1024;

}  // namespace

absl::StatusOr<std::string> KeptSecret(FileStore& store, const std::function<std::string()>& make) {
  const absl::StatusOr<std::string> kept = store.Read(kFile, kMaxBytes);
  if (kept.ok() && IsWorkerSecret(*kept)) {
    return kept;
  }
  if (!kept.ok() && !absl::IsNotFound(kept.status()) && !absl::IsResourceExhausted(kept.status())) {
    return kept.status();
  }
  const std::string made = make();
  TRIBUTARY_RETURN_IF_ERROR(store.Write(kFile, made));
  return made;
}

std::string ReadKeptSecret(const std::string& state_dir) {
  const absl::StatusOr<std::string> kept = ReadFile(absl::StrCat(state_dir, "/", kFile), kMaxBytes);
  return kept.ok() && IsWorkerSecret(*kept) ? *kept : "";
}

}  // namespace tributary::worker
