// The model after a round, as a coordinator sends it: downloaded, and checked against what the run says of it.
#ifndef TRIBUTARY_CLI_MODEL_DOWNLOAD_H_
#define TRIBUTARY_CLI_MODEL_DOWNLOAD_H_

#include <cstdint>
#include <functional>
#include <optional>

#include "absl/status/statusor.h"
#include "cli/client.h"
#include "common/checksum.h"
#include "optim/layout.h"
#include "optim/replica_state.h"
#include "tributary/v1/admin.pb.h"

namespace tributary::cli {

struct DownloadedModel {
  optim::Layout layout;
  optim::ReplicaState state;
  Digest hash{};  // of the state
};

// The state of `run` after `round`; without one, after the last that is committed. `on_progress` is told bytes so far and in all.
// NotFound: the run has not come so far. DataLoss: it is not the state that the run's status names. Errors of Client.
absl::StatusOr<DownloadedModel> DownloadModel(Client* client, const v1::RunStatus& run, std::optional<uint64_t> round,
                                              const std::function<void(uint64_t, uint64_t)>& on_progress);

}  // namespace tributary::cli

#endif  // TRIBUTARY_CLI_MODEL_DOWNLOAD_H_
