// What happens to an update on its way out of the site: it is numbered and signed with the site's key, and entered in the record of what
// was sent (sent_history.h). Evaluations are entered, too.
#ifndef TRIBUTARY_WORKER_OUTGOING_UPDATES_H_
#define TRIBUTARY_WORKER_OUTGOING_UPDATES_H_

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "common/clock.h"
#include "common/tls.h"
#include "tributary/v1/config.pb.h"
#include "tributary/v1/session.pb.h"
#include "tributary/v1/transfer.pb.h"
#include "worker/sent_history.h"

namespace tributary::worker {

// Not thread-safe.
class OutgoingUpdates {
 public:
  // `clock` outlives it.
  OutgoingUpdates(const v1::WorkerConfig& config, const Clock* clock);

  // Before a message or an upload is handed to the line. `pair`: that the line was opened with, for the coordinator checks signatures by
  // it; null: plaintext, and nothing is signed. An error (exit code kCredentials: the key cannot sign; kStorage: the record cannot be
  // written) is for people: what can go without goes, and the coordinator decides what it is worth.
  absl::Status Prepare(const CertificatePair* pair, v1::WorkerMessage& message);
  absl::Status Prepare(const CertificatePair* pair, v1::UploadHeader& header);

 private:
  absl::Status Sign(const CertificatePair& pair, const std::string& base_state_hash, Sent& sent, v1::UpdateSignature& signature);
  absl::Status Enter(Sent& sent);

  const Identity signer_;
  const std::string to_;
  const Clock& clock_;
  SentHistory history_;
};

}  // namespace tributary::worker

#endif  // TRIBUTARY_WORKER_OUTGOING_UPDATES_H_
