#include "coordinator/journal/journal_rows.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/checksum.h"
#include "optim/bytes.h"

namespace tributary::coordinator {
namespace {

class RowCrc {
 public:
  explicit RowCrc(absl::string_view table) { Add(table); }
  RowCrc& Add(uint64_t value) {
    for (int shift = 0; shift < 64; shift += 8) {
      bytes_.push_back(static_cast<char>(value >> shift));
    }
    return *this;
  }
  RowCrc& Add(absl::string_view field) { return Add(field.size()).Add(static_cast<uint64_t>(Crc32c(field))); }
  int64_t Finish() const { return Crc32c(bytes_); }

 private:
  std::string bytes_;
};

uint64_t DoubleBits(double value) {
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

}  // namespace

int64_t RunCrc(int64_t number, absl::string_view run_id, absl::string_view spec, int64_t state, absl::string_view reason, int64_t submitted,
               int64_t finished) {
  return RowCrc("runs").Add(number).Add(run_id).Add(spec).Add(state).Add(reason).Add(submitted).Add(finished).Finish();
}
int64_t OpenRoundCrc(int64_t run, uint64_t round, absl::string_view members) {
  return RowCrc("open_rounds").Add(run).Add(round).Add(members).Finish();
}
int64_t UpdateCrc(int64_t run, uint64_t round, absl::string_view site, absl::string_view report, absl::string_view payload) {
  return RowCrc("updates").Add(run).Add(round).Add(site).Add(report).Add(payload).Finish();
}
int64_t CommitCrc(int64_t run, uint64_t round, absl::string_view chain_hash, absl::string_view state_hash, absl::string_view round_record,
                  absl::string_view included, uint64_t record_bytes, int64_t record_crc) {
  return RowCrc("commits")
      .Add(run)
      .Add(round)
      .Add(chain_hash)
      .Add(state_hash)
      .Add(round_record)
      .Add(included)
      .Add(record_bytes)
      .Add(record_crc)
      .Finish();
}
int64_t SiteTotalsCrc(int64_t run, absl::string_view sites) {
  return RowCrc("site_totals").Add(run).Add(sites).Finish();
}
int64_t ValidationLossCrc(int64_t run, uint64_t round, double loss) {
  return RowCrc("validation_losses").Add(run).Add(round).Add(DoubleBits(loss)).Finish();
}
int64_t SnapshotCrc(int64_t run, uint64_t round, absl::string_view file, absl::string_view state_hash, absl::string_view aggregator_file,
                    absl::string_view aggregator_hash) {
  return RowCrc("snapshots").Add(run).Add(round).Add(file).Add(state_hash).Add(aggregator_file).Add(aggregator_hash).Finish();
}
int64_t ArrivalsCrc(int64_t run, absl::string_view plain, absl::string_view evaluating) {
  return RowCrc("arrivals").Add(run).Add(plain).Add(evaluating).Finish();
}
int64_t EventCrc(int64_t number, int64_t run, const JournaledEvent& event) {
  return RowCrc("events")
      .Add(number)
      .Add(run)
      .Add(event.unix_ms)
      .Add(event.site)
      .Add(event.kind)
      .Add(event.round)
      .Add(event.detail)
      .Finish();
}
int64_t EvidenceCrc(int64_t number, int64_t run, const JournaledEvidence& evidence) {
  return RowCrc("evidence")
      .Add(number)
      .Add(run)
      .Add(evidence.unix_ms)
      .Add(evidence.site)
      .Add(evidence.round)
      .Add(evidence.reported_hash)
      .Add(evidence.log_hash)
      .Add(evidence.software_version)
      .Finish();
}

absl::string_view BytesOf(const optim::Digest& digest) {
  return {reinterpret_cast<const char*>(digest.data()), digest.size()};
}

bool ToDigest(absl::string_view bytes, optim::Digest& digest) {
  if (bytes.size() != digest.size()) {
    return false;
  }
  std::copy(bytes.begin(), bytes.end(), digest.begin());
  return true;
}

absl::StatusOr<std::string> JoinSites(const std::vector<std::string>& sites) {
  std::string lines;
  for (const std::string& site : sites) {
    if (site.empty() || absl::StrContains(site, '\n')) {
      return absl::InvalidArgumentError(absl::StrCat("'", site, "' is not the name of a site"));
    }
    absl::StrAppend(&lines, site, "\n");
  }
  return lines;
}

std::vector<std::string> SplitSites(absl::string_view lines) {
  return absl::StrSplit(lines, '\n', absl::SkipEmpty());
}

std::string PackDurations(const std::vector<absl::Duration>& durations) {
  std::string bytes;
  for (const absl::Duration duration : durations) {
    optim::AppendLittleEndian(static_cast<uint64_t>(absl::ToInt64Nanoseconds(duration)), bytes);
  }
  return bytes;
}

std::vector<absl::Duration> UnpackDurations(absl::string_view bytes) {
  std::vector<absl::Duration> durations;
  optim::ByteReader reader(bytes);
  for (uint64_t nanoseconds = 0; reader.Read(nanoseconds);) {
    durations.push_back(absl::Nanoseconds(static_cast<int64_t>(nanoseconds)));
  }
  return durations;
}

std::string SerializeSites(const std::vector<v1::SiteStatus>& sites) {
  v1::RunStatus holder;
  for (const v1::SiteStatus& site : sites) {
    *holder.add_sites() = site;
  }
  return holder.SerializeAsString();
}

}  // namespace tributary::coordinator
