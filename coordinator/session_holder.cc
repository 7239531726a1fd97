#include "coordinator/session_holder.h"

#include "absl/strings/str_cat.h"

namespace tributary::coordinator {

SessionHolder::SessionHolder(const SessionOrigin& origin) : address_(origin.address) {
  if (!origin.worker_secret.empty()) {
    secret_ = Sha256(origin.worker_secret);
  }
}

bool SessionHolder::Is(absl::string_view worker_secret) const {
  return secret_.has_value() && !worker_secret.empty() && *secret_ == Sha256(worker_secret);
}

std::string SessionHolder::Contested(const SessionOrigin& newcomer) const {
  return absl::StrCat("a second worker, at ", newcomer.address, ", wants the session of the one at ", address_,
                      " and is refused; if the site runs one, its key is stolen");
}

absl::Status SessionHolder::Refusal(absl::string_view site, absl::Duration lease) {
  return absl::AlreadyExistsError(absl::StrCat(
      "another worker has a session as site ", site, "; it stays until it ends, or until nothing was heard from it for ",
      absl::FormatDuration(lease), ": try again after that. If this site runs no other worker, its key may be stolen: tell the operator"));
}

}  // namespace tributary::coordinator
