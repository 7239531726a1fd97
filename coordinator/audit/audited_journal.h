// A Journal that writes into the audit log what passes through it: nothing becomes durable that is not recorded, in the same transaction.
#ifndef TRIBUTARY_COORDINATOR_AUDIT_AUDITED_JOURNAL_H_
#define TRIBUTARY_COORDINATOR_AUDIT_AUDITED_JOURNAL_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/clock.h"
#include "coordinator/audit/audit_log.h"
#include "coordinator/journal/forwarding_journal.h"
#include "coordinator/journal/journal.h"

namespace tributary::coordinator {

// Of one site's events (they came or went, were late, rejected, ...) so many are recorded at once, and one more whenever the interval has
// passed; the next that is recorded says how many were left out. A site may cause them as often as it likes, and a log is never shortened.
inline constexpr uint32_t kAuditedEventsAtOnce = 100;
inline constexpr absl::Duration kAuditedEventInterval = absl::Seconds(10);

// Not thread-safe.
class AuditedJournal final : public ForwardingJournal {
 public:
  // `clock` outlives it. Errors of AuditLog::Open.
  static absl::StatusOr<std::unique_ptr<AuditedJournal>> Over(std::unique_ptr<Journal> journal, const Clock* clock,
                                                              const std::string& federation);

  AuditLog& log() { return *log_; }

  absl::Status AddUpdates(const std::string& run_id, uint64_t round, absl::Span<const JournaledUpdate> updates) override;
  absl::Status AddCommit(const std::string& run_id, uint64_t round, const JournaledCommit& commit) override;
  void NoteEvent(const std::string& run_id, const JournaledEvent& event) override;
  absl::Status PutSite(const v1::SiteRecord& site, const SiteAct& act) override;
  absl::StatusOr<std::vector<std::string>> Truncate(
      const std::string& run_id, uint64_t round, const std::function<absl::StatusOr<std::optional<JournaledSnapshot>>()>& settle) override;

 private:
  AuditedJournal(std::unique_ptr<Journal> journal, std::unique_ptr<AuditLog> log, const Clock* clock)
      : ForwardingJournal(std::move(journal)), log_(std::move(log)), clock_(*clock) {}

  // What a site may still cause.
  struct Allowance {
    double left = kAuditedEventsAtOnce;
    absl::Time since;
    uint64_t omitted = 0;
  };
  // What the site signed, for a record; its certificate is in the log by then. The digest of the payload is the caller's.
  v1::AuditRecord::SignedUpdate Signed(const std::string& site, const std::string& base_state_hash, const UpdateProof& proof);
  // How many events of the site were left out before this one; nothing: this one is left out too.
  std::optional<uint64_t> Admit(const std::string& whose);

  const std::unique_ptr<AuditLog> log_;
  const Clock& clock_;
  std::map<std::string, Allowance> allowances_;              // by AllowanceOf
  std::map<std::string, Certificates> certificates_in_log_;  // by site: the newest
};

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_AUDIT_AUDITED_JOURNAL_H_
