#include "coordinator/run/kept_upload.h"

#include <utility>

#include "common/log.h"
#include "common/status_macros.h"
#include "optim/aggregator.h"

namespace tributary::coordinator {

absl::StatusOr<std::unique_ptr<UploadPlace>> PlaceForUpload(const RunHost& host, const std::string& run_id, const std::string& site,
                                                            uint64_t round) {
  if (!host.KeepsUpdateFiles()) {
    return nullptr;
  }
  auto place = std::make_unique<UploadPlace>();
  place->file = host.files().NewUpdateFile(run_id, round, site);
  absl::StatusOr<std::unique_ptr<FileStore::Writer>> writer = host.files().Create(place->file);
  if (!writer.ok()) {
    LogWarning("coordinator", "an upload cannot be kept: ", writer.status().message(), LogField("site", site));
    return absl::UnavailableError("the coordinator cannot keep the upload now; send it again");
  }
  place->writer = *std::move(writer);
  place->measure = [model = host.shared_model(), files = &host.files(), file = place->file]() -> absl::StatusOr<double> {
    TRIBUTARY_ASSIGN_OR_RETURN(const SharedBytes payload, files->Open(file));
    return optim::MeasureStoredUpdate(model->options, model->layout, *payload);
  };
  return place;
}

}  // namespace tributary::coordinator
