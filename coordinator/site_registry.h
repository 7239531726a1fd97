// The sites of the federation: who may take part, asked on every call, and changed while the coordinator runs.
#ifndef TRIBUTARY_COORDINATOR_SITE_REGISTRY_H_
#define TRIBUTARY_COORDINATOR_SITE_REGISTRY_H_

#include <cstddef>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "tributary/v1/enrolment.pb.h"

namespace tributary::coordinator {

// The one list of sites of a coordinator: whoever needs it holds a pointer and asks anew. Two sources: the configuration's list, whose
// sites are active, and records of what operators did (site_registrar.h), which go before it where they suspend or revoke. Only registers:
// a site that is no longer active keeps the session it has until somebody closes it. Thread-safe.
class SiteRegistry {
 public:
  explicit SiteRegistry(const std::vector<std::string>& configured);
  SiteRegistry(const SiteRegistry&) = delete;
  SiteRegistry& operator=(const SiteRegistry&) = delete;

  // Of active sites: whether this is one, how many there are, and which, ascending.
  bool Contains(const std::string& site) const;
  size_t size() const;
  std::vector<std::string> Names() const;

  // OK: the site may call with a certificate that is valid from `certificate_begin` on. NotFound: nobody has heard of it.
  // PermissionDenied: pending, suspended, revoked, or the certificate is from before it was revoked; the message says which.
  absl::Status Check(const std::string& site, absl::Time certificate_begin) const;

  // The configuration's list, in place of the one before, at once: nobody sees a list between the two.
  void Replace(const std::vector<std::string>& configured);
  // In place of the record of the same name.
  void Put(const v1::SiteRecord& record);

  bool IsConfigured(const std::string& site) const;
  // What the record alone says; STANDING_UNSPECIFIED: nothing, so that the configuration decides.
  v1::SiteRecord::Standing RecordedStanding(const std::string& site) const;
  // The record, with the standing that follows from both; of a site that the configuration alone knows, with its name besides.
  std::optional<v1::SiteRecord> Find(const std::string& site) const;
  // The same of the site whose token has this hash.
  std::optional<v1::SiteRecord> FindByToken(const std::string& sha256) const;
  // Of all sites, by name.
  std::vector<v1::SiteRecord> Records() const;

 private:
  // Under mutex_.
  v1::SiteRecord::Standing StandingOf(const std::string& site) const;
  void Recount();

  mutable std::mutex mutex_;
  std::set<std::string> configured_;               // under mutex_, as all below
  std::map<std::string, v1::SiteRecord> records_;  // by name
  std::set<std::string> active_;                   // what follows from both
};

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_SITE_REGISTRY_H_
