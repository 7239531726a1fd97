// The worker's secret (common/worker_secret.h) as its state folder keeps it: the file "worker.secret", for its user alone.
#ifndef TRIBUTARY_WORKER_KEPT_SECRET_H_
#define TRIBUTARY_WORKER_KEPT_SECRET_H_

#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "common/file_store.h"

namespace tributary::worker {

// The one that is kept; else what `make` gives, which is kept from now on. A file that holds something else is replaced. Errors of
// FileStore.
absl::StatusOr<std::string> KeptSecret(FileStore& store, const std::function<std::string()>& make);

// The one that the worker of this state folder keeps, for programs beside it; empty: there is none, or it cannot be read.
std::string ReadKeptSecret(const std::string& state_dir);

}  // namespace tributary::worker

#endif  // TRIBUTARY_WORKER_KEPT_SECRET_H_
