// `tributary journal truncate-to` in a simulation: the real tool, on the files of a simulated disk whose coordinator is down.
#ifndef TRIBUTARY_SIM_TAKE_BACK_H_
#define TRIBUTARY_SIM_TAKE_BACK_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "coordinator/journal_tool.h"
#include "sim/sim_disk.h"

namespace tributary::sim {

// Copies the disk to a folder of this machine, takes the run back there, has the result verified as `tributary journal verify` does, and
// copies it back, without the copy that the tool made of the folder. All errors: that should not have happened; DataLoss: the
// result does not pass the checks, or the server-side residual is gone where the journal still had the updates that led to it.
absl::StatusOr<coordinator::Truncation> TakeBack(SimDisk& disk, const std::string& run_id, uint64_t round);

}  // namespace tributary::sim

#endif  // TRIBUTARY_SIM_TAKE_BACK_H_
