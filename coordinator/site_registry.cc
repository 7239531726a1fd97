#include "coordinator/site_registry.h"

namespace tributary::coordinator {

bool SiteRegistry::Contains(const std::string& site) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return sites_.contains(site);
}

size_t SiteRegistry::size() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return sites_.size();
}

std::vector<std::string> SiteRegistry::Names() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return {sites_.begin(), sites_.end()};
}

bool SiteRegistry::Add(const std::string& site) {
  const std::lock_guard<std::mutex> lock(mutex_);
  return sites_.insert(site).second;
}

bool SiteRegistry::Remove(const std::string& site) {
  const std::lock_guard<std::mutex> lock(mutex_);
  return sites_.erase(site) != 0;
}

void SiteRegistry::Replace(const std::vector<std::string>& sites) {
  std::set<std::string> replacement(sites.begin(), sites.end());
  const std::lock_guard<std::mutex> lock(mutex_);
  sites_.swap(replacement);
}

}  // namespace tributary::coordinator
