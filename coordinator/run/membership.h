// Which sites a run has, whether they are still there, and how far each has come towards taking part in it.
//
// Pure: no clock, no network. `now` is monotonic time (Clock::Now).
#ifndef TRIBUTARY_COORDINATOR_RUN_MEMBERSHIP_H_
#define TRIBUTARY_COORDINATOR_RUN_MEMBERSHIP_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace tributary::coordinator {

// Where a site stands with the run, in the order it usually goes through.
enum class Presence {
  kAway,         // no session
  kConnected,    // a session, no run offered yet
  kOffered,      // the run was offered; its consent is awaited
  kRefused,      // the site's consent does not cover the run, or its release cannot do what it needs; remembered when its session ends
  kLeft,         // said that it will not send more in this run; remembered likewise
  kSyncing,      // consented; fetching the state it lacks
  kQuarantined,  // its state differs from the log's: it takes part in nothing until it was resynchronised
  kReady,        // holds the current state
};
absl::string_view PresenceName(Presence presence);

// Not thread-safe.
class Membership {
 public:
  struct Site {
    Presence presence = Presence::kAway;
    bool session = false;  // a stream is open
    bool leased = false;   // heard from within the lease: may still answer, even if its stream is gone
    absl::Time lease_end = absl::InfinitePast();
    std::string note;  // why it refused, left or is quarantined
  };

  // A site not heard from for `lease` has left.
  explicit Membership(absl::Duration lease) : lease_(lease) {}

  // A session opened: the site starts over at kConnected.
  void Connected(const std::string& site, absl::Time now);
  // Any message renews the lease.
  void Heard(const std::string& site, absl::Time now);
  // The stream ended. The lease runs on, because the site may come back in time; unless it refused or left.
  void Dropped(const std::string& site);
  // The site said that it leaves: nobody waits for it any more.
  void Left(const std::string& site, absl::string_view reason);
  // Grants a lease to a site that has no session yet: members of a round that a restart found open.
  void Expect(const std::string& site, absl::Time now);
  // How far a connected site has come. No effect on a site without a session.
  void Set(const std::string& site, Presence presence, absl::string_view note = "");
  // The sites for which `chosen` holds go over to `other`, with their leases, and start over there: connected ones at kConnected.
  void Move(absl::FunctionRef<bool(const std::string& site)> chosen, Membership& other);

  // Ends the leases that are due and returns their sites, ascending. Those that still had a session lose it (the caller closes it).
  std::vector<std::string> Expire(absl::Time now);
  // When Expire has something to do at the earliest; InfiniteFuture if never.
  absl::Time next_expiry() const;

  // May still answer: leased, and has neither refused nor left.
  bool CanAnswer(const std::string& site) const;
  // Ascending.
  std::vector<std::string> In(Presence presence) const;
  const std::map<std::string, Site>& sites() const { return sites_; }
  // Rises whenever a site's session or presence may have changed.
  uint64_t version() const { return version_; }

  // "ready: berlin, oslo; syncing: rome; refused: paris (runs not covered)": everybody but the absent; "no site is connected" if nobody is.
  std::string Describe() const;

 private:
  absl::Duration lease_;
  std::map<std::string, Site> sites_;
  uint64_t version_ = 0;
};

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_RUN_MEMBERSHIP_H_
