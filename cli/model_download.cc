#include "cli/model_download.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "optim/model_spec.h"
#include "optim/options.h"
#include "optim/snapshot.h"
#include "optim/state_hash.h"
#include "proto/config/run_options.h"
#include "tributary/v1/transfer.pb.h"

namespace tributary::cli {

absl::StatusOr<DownloadedModel> DownloadModel(Client* client, const v1::RunStatus& run, std::optional<uint64_t> round,
                                              const std::function<void(uint64_t, uint64_t)>& on_progress) {
  const uint64_t wanted = round.value_or(run.round());
  if (wanted > run.round()) {
    return absl::NotFoundError(
        absl::StrCat("run ", run.run_id(), " has committed ", run.round(), " rounds, not ", wanted, "; choose one of 0 to ", run.round()));
  }
  TRIBUTARY_ASSIGN_OR_RETURN(const optim::ModelSpec model, ModelSpecOf(run.spec()));
  TRIBUTARY_ASSIGN_OR_RETURN(optim::Layout layout, optim::MakeLayout(model));
  TRIBUTARY_ASSIGN_OR_RETURN(const optim::OptimizerOptions optimizer, OptimizerOptionsOf(run.spec()));
  const int slots = optim::SlotCount(optimizer.mode);

  v1::DownloadRequest request;
  request.set_run_id(run.run_id());
  request.set_state_at_round(wanted);
  const uint64_t max_bytes = sizeof(float) * static_cast<uint64_t>(layout.size()) * static_cast<uint64_t>(1 + slots) + 65536;
  TRIBUTARY_ASSIGN_OR_RETURN(const std::string snapshot, client->Download(request, max_bytes, on_progress));
  TRIBUTARY_ASSIGN_OR_RETURN(optim::ReplicaState state, optim::DecodeSnapshot(snapshot, layout, slots));
  const Digest hash = optim::StateHash(layout, state);
  if (state.round != wanted || (wanted == run.round() && DigestBytes(hash) != run.state_hash())) {
    return absl::DataLossError(absl::StrCat("the coordinator sent something other than the state after round ", wanted, " (hash ",
                                            DigestHex(hash),
                                            "); nothing was written. Check its journal: tributary journal verify DATA_DIR"));
  }
  return DownloadedModel{std::move(layout), std::move(state), hash};
}

}  // namespace tributary::cli
