#include "coordinator/run/strikes.h"

#include "absl/strings/str_cat.h"

namespace tributary::coordinator {

bool Strike(v1::SiteStatus& site, uint64_t round, absl::string_view reason) {
  auto& strikes = *site.mutable_strikes();
  // Those of rounds that were taken back.
  while (!strikes.empty() && strikes[strikes.size() - 1] > round) {
    strikes.RemoveLast();
  }
  if (!site.quarantine().empty() || (!strikes.empty() && strikes[strikes.size() - 1] >= round)) {
    return false;
  }
  strikes.Add(round);
  while (strikes[0] + kStrikeRounds <= round) {
    strikes.erase(strikes.begin());
  }
  if (strikes.size() < kMostStrikes) {
    return false;
  }
  site.set_quarantine(absl::StrCat(strikes.size(), " updates refused since round ", strikes[0], ", the last one: ", reason));
  return true;
}

absl::Status CheckQuarantined(const v1::SiteStatus* site, absl::string_view name) {
  if (site == nullptr) {
    return absl::NotFoundError(absl::StrCat("the run knows no site ", name));
  }
  if (site->quarantine().empty()) {
    return absl::FailedPreconditionError(absl::StrCat("site ", name, " is not quarantined for its updates; there is nothing to readmit"));
  }
  return absl::OkStatus();
}

void Readmit(v1::SiteStatus& site) {
  site.clear_strikes();
  site.clear_quarantine();
}

}  // namespace tributary::coordinator
