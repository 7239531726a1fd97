// RunSpec (the protocol's view of a run) as the plain types of optim/, and what a run as a whole must satisfy.
#ifndef TRIBUTARY_PROTO_CONFIG_RUN_OPTIONS_H_
#define TRIBUTARY_PROTO_CONFIG_RUN_OPTIONS_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "optim/data_kind.h"
#include "optim/options.h"
#include "proto/config/model_options.h"
#include "tributary/v1/run.pb.h"

namespace tributary {

// The mode's defaults with what the run sets, and what its budget chooses (optim/budget.h). InvalidArgument names the key.
absl::StatusOr<optim::OptimizerOptions> OptimizerOptionsOf(const v1::RunSpec& spec);
// The same in the words of the protocol: spec.optimizer with every value that applies filled in (RunStatus.optimizer_in_force).
absl::StatusOr<v1::OptimizerSpec> OptimizerInForce(const v1::RunSpec& spec);
absl::StatusOr<optim::DataKind> DataKindOf(const v1::DataSpec& data);

// What single fields cannot say: min_workers <= max_workers, min_deadline <= max_deadline, local_steps > 1 only where the mode has local
// steps, data of a kind that the model learns from, and so on. The coordinator calls it on every submitted run (a client may skip the YAML
// reader), and first checks field ranges by the annotations.
absl::Status ValidateRunSpec(const v1::RunSpec& spec);

// Its part on what the model learns from: `spec` needs model and data alone, whose fields have been checked by themselves.
absl::Status CheckDataOf(const v1::RunSpec& spec);

// By what the run's models are judged: kLossName, the validation loss, or a metric of its evaluation (spec.stop_when).
inline constexpr absl::string_view kLossName = "loss";
std::string JudgedBy(const v1::RunSpec& spec);

// InvalidArgument: the run waits for more workers than a federation of `sites` sites can have.
absl::Status CheckMinWorkers(const v1::RunSpec& spec, int sites);

}  // namespace tributary

#endif  // TRIBUTARY_PROTO_CONFIG_RUN_OPTIONS_H_
