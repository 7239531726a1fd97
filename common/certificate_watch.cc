#include "common/certificate_watch.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/log.h"
#include "common/status_macros.h"
#include "common/x509.h"

namespace tributary {
namespace {

constexpr absl::Duration kOncePer = absl::Hours(24);

}  // namespace

std::string ExpiryWarnings::Check(const std::string& whose, const Validity& validity, absl::Time now) {
  if (!validity.NearsEnd(now)) {
    told_.erase(whose);
    return "";
  }
  if (const auto told = told_.find(whose); told != told_.end() && now - told->second < kOncePer) {
    return "";
  }
  told_[whose] = now;
  if (now >= validity.end) {
    return absl::StrCat(whose, " expired on ", FormatDate(validity.end), ": no new connection accepts it; renew it now");
  }
  const int64_t hours = absl::ToInt64Hours(validity.end - now);
  return absl::StrCat(whose, " expires in ", hours < 48 ? absl::StrCat(hours, " hours") : absl::StrCat(hours / 24, " days"), ", on ",
                      FormatDate(validity.end), "; renew it");
}

CertificateWatch::CertificateWatch(std::shared_ptr<CertificateFiles> files, Options options)
    : files_(std::move(files)), options_(std::move(options)), thread_("certificates") {
  thread_.Post([this] { Look(); });
}

CertificateWatch::~CertificateWatch() {
  thread_.Stop();
}

absl::Status CertificateWatch::MoveTo(const TlsFiles& files) {
  TRIBUTARY_ASSIGN_OR_RETURN(const bool changed, files_->MoveTo(files));
  if (changed) {
    LogInfo(options_.component, "new certificate in use: ", files_->current()->description);
  }
  return absl::OkStatus();
}

void CertificateWatch::Look() {
  const absl::StatusOr<bool> changed = files_->Refresh();
  Tell(changed);
  const std::shared_ptr<const CertificatePair> pair = files_->current();
  const std::string expiry =
      expiry_.Check(absl::StrCat("the certificate ", files_->files().certificate), pair->validity, options_.clock->WallNow());
  if (!expiry.empty()) {
    LogWarning(options_.component, expiry);
  }
  if (options_.observe) {
    options_.observe(*pair, changed.ok() ? CertificateFilesState::kInUse : CertificateFilesState::kRefused);
  }
  thread_.PostAfter(options_.interval, [this] { Look(); });
}

void CertificateWatch::Tell(const absl::StatusOr<bool>& changed) {
  if (!changed.ok()) {
    // Files that are being written show several problems one after the other: the first is told, and how it ends.
    if (std::exchange(problem_, std::string(changed.status().message())).empty()) {
      LogWarning(options_.component, "the certificate files are not good: ", problem_,
                 ". The certificate read before stays in use, valid until ", FormatDate(files_->current()->validity.end));
    }
    return;
  }
  const bool were_bad = !std::exchange(problem_, "").empty();
  if (*changed) {
    LogInfo(options_.component, "new certificate in use: ", files_->current()->description);
  } else if (were_bad) {
    LogInfo(options_.component, "the certificate files are good again, and unchanged");
  }
}

}  // namespace tributary
