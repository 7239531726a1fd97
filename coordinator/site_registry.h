// The sites of the federation: who may take part, asked on every call, and changed while the coordinator runs.
#ifndef TRIBUTARY_COORDINATOR_SITE_REGISTRY_H_
#define TRIBUTARY_COORDINATOR_SITE_REGISTRY_H_

#include <cstddef>
#include <mutex>
#include <set>
#include <string>
#include <vector>

namespace tributary::coordinator {

// The one list of sites of a coordinator: whoever needs it holds a pointer and asks anew. Only registers: a site that is removed keeps the
// session it has until somebody closes it. Thread-safe.
class SiteRegistry {
 public:
  explicit SiteRegistry(const std::vector<std::string>& sites) : sites_(sites.begin(), sites.end()) {}
  SiteRegistry(const SiteRegistry&) = delete;
  SiteRegistry& operator=(const SiteRegistry&) = delete;

  bool Contains(const std::string& site) const;
  size_t size() const;
  // As they are at this moment, ascending.
  std::vector<std::string> Names() const;

  // False: it was there already; it was not there.
  bool Add(const std::string& site);
  bool Remove(const std::string& site);
  // At once: nobody sees a list between the two.
  void Replace(const std::vector<std::string>& sites);

 private:
  mutable std::mutex mutex_;
  std::set<std::string> sites_;  // under mutex_
};

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_SITE_REGISTRY_H_
