// Where an upload goes, and what has come of it: between the stream that brings it and the run that takes it.
#ifndef TRIBUTARY_COORDINATOR_RUN_UPLOAD_PLACE_H_
#define TRIBUTARY_COORDINATOR_RUN_UPLOAD_PLACE_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "common/file_store.h"
#include "common/stored_bytes.h"
#include "proto/audit/signed_update.h"

namespace tributary::coordinator {

// A file for the payload, chosen by the run when it has seen the header. May move to another thread.
struct UploadPlace {
  // Takes the payload as it arrives, and is finished once its digest is right.
  std::unique_ptr<FileStore::Writer> writer;
  std::string file;
  // Says whether the finished file is a valid update, and its norm (optim::MeasureStoredUpdate); on any thread, as long as it takes.
  // InvalidArgument; errors of the storage.
  std::function<absl::StatusOr<double>()> measure;
};

// The whole payload: in memory, or in a durable file.
struct UploadedPayload {
  std::string bytes = {};
  std::string file = {};
  absl::StatusOr<double> norm = 0.0;  // of the file, as UploadPlace::measure says it
  UpdateProof proof = {};             // of the header's signature
};

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_RUN_UPLOAD_PLACE_H_
