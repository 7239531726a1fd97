// A file in the run's folder for an update that comes as an upload.
#ifndef TRIBUTARY_COORDINATOR_RUN_KEPT_UPLOAD_H_
#define TRIBUTARY_COORDINATOR_RUN_KEPT_UPLOAD_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "coordinator/run/run_host.h"
#include "coordinator/run/upload_place.h"

namespace tributary::coordinator {

// For the site's update of that round; null if the run keeps updates in memory. Unavailable: the file cannot be made now. The place must
// not outlive the files of `host`.
absl::StatusOr<std::unique_ptr<UploadPlace>> PlaceForUpload(const RunHost& host, const std::string& run_id, const std::string& site,
                                                            uint64_t round);

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_RUN_KEPT_UPLOAD_H_
