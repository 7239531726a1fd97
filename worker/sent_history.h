// What left this site, for its people: one line of JSON for each update and each evaluation that was handed to the line, with when, to
// whom, of which run and round, how many bytes, their SHA-256, and the losses and metrics that went with it. Written before the first byte
// is sent; kept in the state folder as sent_history.jsonl, and the stretch before it as sent_history.1.jsonl.
//
// Not synced to the disk, unlike what training goes on from (sent_log.h): a machine that loses power may lose the newest lines; a process
// that is killed loses none.
#ifndef TRIBUTARY_WORKER_SENT_HISTORY_H_
#define TRIBUTARY_WORKER_SENT_HISTORY_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "nlohmann/json_fwd.hpp"
#include "tributary/v1/session.pb.h"
#include "tributary/v1/transfer.pb.h"

namespace tributary::worker {

struct Sent {
  absl::Time at;
  std::string to;  // host:port of the coordinator
  std::string run_id;
  uint64_t round = 0;
  uint64_t bytes = 0;  // of the payload, before framing; 0: an evaluation alone
  std::string sha256;  // of the payload, raw; empty: an evaluation alone
  std::optional<double> train_loss;
  std::optional<double> val_loss;
  uint64_t sequence = 0;                       // with which it was signed; 0: it was not
  std::map<std::string, double> metrics = {};  // by name
};

// What of a message or an upload is for the history, if anything; `at` and `to` are the caller's.
std::optional<Sent> SentIn(const v1::WorkerMessage& message);
Sent SentIn(const v1::UploadHeader& header);

// Not thread-safe.
class SentHistory {
 public:
  // A file that has reached `max_bytes` makes place for the next: twice as much is kept in all.
  explicit SentHistory(std::string state_dir, uint64_t max_bytes = uint64_t{4} << 20);

  // The number of this update among those of its run that the site has signed, from 1; the newest one again has the number that it had.
  // As far as the record reaches: a machine that loses power may give a number twice.
  uint64_t SequenceOf(const Sent& update);

  // An update that is sent again, after a broken line, is in it once. Exit code kStorage: it cannot be written.
  absl::Status Add(const Sent& sent);

 private:
  const std::string file_;
  const std::string older_file_;
  const std::string state_dir_;
  const uint64_t max_bytes_;
  std::string newest_update_;
  std::optional<std::map<std::string, Sent>> signed_;  // by run: the newest; absent: the files were not looked at
};

// Oldest first. Lines that are not whole are left out; there may be none.
std::vector<Sent> ReadSentHistory(const std::string& state_dir);

nlohmann::ordered_json SentJson(const Sent& sent);

}  // namespace tributary::worker

#endif  // TRIBUTARY_WORKER_SENT_HISTORY_H_
