// How the rows of the journal guard and encode their columns (docs/journal_format.md). Inside the SQLite journal only.
#ifndef TRIBUTARY_COORDINATOR_JOURNAL_JOURNAL_ROWS_H_
#define TRIBUTARY_COORDINATOR_JOURNAL_JOURNAL_ROWS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "coordinator/journal/journal.h"
#include "optim/layout.h"
#include "tributary/v1/run.pb.h"

namespace tributary::coordinator {

// CRC-32C over a row's table, key and columns, each with its length, so that no two rows run together. Frozen with the format.
int64_t RunCrc(int64_t number, absl::string_view run_id, absl::string_view spec, int64_t state, absl::string_view reason, int64_t submitted,
               int64_t finished);
int64_t OpenRoundCrc(int64_t run, uint64_t round, absl::string_view members);
int64_t UpdateCrc(int64_t run, uint64_t round, absl::string_view site, absl::string_view report, absl::string_view payload);
int64_t CommitCrc(int64_t run, uint64_t round, absl::string_view chain_hash, absl::string_view state_hash, absl::string_view round_record,
                  absl::string_view included, uint64_t record_bytes, int64_t record_crc);
int64_t SiteTotalsCrc(int64_t run, absl::string_view sites);
int64_t ValidationLossCrc(int64_t run, uint64_t round, double loss);
int64_t SnapshotCrc(int64_t run, uint64_t round, absl::string_view file, absl::string_view state_hash, absl::string_view aggregator_file,
                    absl::string_view aggregator_hash);
int64_t ArrivalsCrc(int64_t run, absl::string_view plain, absl::string_view evaluating);
int64_t EventCrc(int64_t number, int64_t run, const JournaledEvent& event);
int64_t EvidenceCrc(int64_t number, int64_t run, const JournaledEvidence& evidence);

absl::string_view BytesOf(const optim::Digest& digest);
// False: not 32 bytes.
bool ToDigest(absl::string_view bytes, optim::Digest& digest);

// Site names, one a line. InvalidArgument: an empty name, or one with a line break (names are DNS labels, so there is none).
absl::StatusOr<std::string> JoinSites(const std::vector<std::string>& sites);
std::vector<std::string> SplitSites(absl::string_view lines);

// Nanoseconds, 8 bytes little-endian each.
std::string PackDurations(const std::vector<absl::Duration>& durations);
std::vector<absl::Duration> UnpackDurations(absl::string_view bytes);

std::string SerializeSites(const std::vector<v1::SiteStatus>& sites);

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_JOURNAL_JOURNAL_ROWS_H_
