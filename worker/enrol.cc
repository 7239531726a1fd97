#include "worker/enrol.h"

#include <cstdio>
#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "common/certificate_files.h"
#include "common/csr.h"
#include "common/enrolment_token.h"
#include "common/exit_codes.h"
#include "common/files.h"
#include "common/pinned_ca.h"
#include "common/status_macros.h"
#include "common/x509.h"
#include "worker/enrolment_client.h"

namespace tributary::worker {
namespace {

constexpr absl::Duration kPatience = absl::Seconds(10);
// A server that says so may be asked sooner than it would like, but not in a loop.
constexpr absl::Duration kLeastWait = absl::Seconds(1);
constexpr absl::Duration kMostWait = absl::Minutes(1);

bool IsThere(const std::string& path) {
  std::error_code unknown;
  return std::filesystem::exists(path, unknown);
}

// A key that is not in use before its certificate is there. One that an attempt before has left is the one that the token knows.
absl::StatusOr<std::string> KeyToEnrol(const std::string& path) {
  if (IsThere(path)) {
    return ReadPem(path);
  }
  TRIBUTARY_ASSIGN_OR_RETURN(const std::string key, MakePrivateKey());
  TRIBUTARY_RETURN_IF_ERROR(MakeDirectories(std::filesystem::path(path).parent_path()));
  TRIBUTARY_RETURN_IF_ERROR(WriteFileAtomically(path, key, 0600));
  return key;
}

absl::Status Rename(const std::string& from, const std::string& to) {
  if (std::rename(from.c_str(), to.c_str()) != 0) {
    return StorageError("rename", from, errno);
  }
  return SyncPath(to);
}

// Everything is checked before anything that was there is replaced.
absl::Status Store(const v1::IssuedCertificate& issued, const std::string& new_key, const Identity& identity, const EnrolOptions& options) {
  const TlsFiles& files = options.files;
  const std::string new_certificate = files.certificate + ".new";
  const std::string new_ca = files.ca + ".new";
  TRIBUTARY_RETURN_IF_ERROR(MakeDirectories(std::filesystem::path(files.certificate).parent_path()));
  TRIBUTARY_RETURN_IF_ERROR(MakeDirectories(std::filesystem::path(files.ca).parent_path()));
  TRIBUTARY_RETURN_IF_ERROR(WriteFileAtomically(new_certificate, issued.certificate(), 0644));
  TRIBUTARY_RETURN_IF_ERROR(WriteFileAtomically(new_ca, issued.ca(), 0644));
  TRIBUTARY_RETURN_IF_ERROR(LoadCertificatePair({new_ca, new_certificate, new_key}, identity).status());
  TRIBUTARY_RETURN_IF_ERROR(Rename(new_ca, files.ca));
  TRIBUTARY_RETURN_IF_ERROR(Rename(new_key, files.key));
  return Rename(new_certificate, files.certificate);
}

absl::StatusOr<v1::EnrolResponse> AskUntilIssued(const v1::EnrolRequest& request, const PinnedCoordinator& coordinator,
                                                 const EnrolOptions& options) {
  bool told = false;
  while (true) {
    absl::StatusOr<v1::EnrolResponse> answer = CallEnrol(options.coordinator, options.route, coordinator, request);
    absl::Duration wait = absl::Seconds(5);
    if (answer.ok()) {
      if (answer->has_issued()) {
        return answer;
      }
      wait = absl::Milliseconds(answer->ask_again_ms());
      if (!told) {
        options.say(absl::StrCat("waiting until an operator approves site ", answer->site(),
                                 " with this key; tell them its fingerprint:\n  ", answer->key_fingerprint(),
                                 "\n(Ctrl-C ends the wait; the same command goes on with it)"));
        told = true;
      }
    } else if (!absl::IsResourceExhausted(answer.status()) && !(told && absl::IsUnavailable(answer.status()))) {
      // Once it has answered, a coordinator that is away comes back.
      return answer;
    }
    TRIBUTARY_RETURN_IF_ERROR(options.wait(std::clamp(wait, kLeastWait, kMostWait)));
  }
}

}  // namespace

absl::StatusOr<Identity> Enrol(const EnrolOptions& options) {
  TRIBUTARY_ASSIGN_OR_RETURN(const EnrolmentToken token, ParseToken(options.token));
  for (const std::string& file : {options.files.certificate, options.files.ca}) {
    if (options.existing == ExistingFiles::kKeep && IsThere(file)) {
      return WithExitCode(
          absl::AlreadyExistsError(absl::StrCat(file, " exists already; add --force to replace certificate, key and CA by new ones")),
          ExitCode::kUsage);
    }
  }
  TRIBUTARY_ASSIGN_OR_RETURN(const PinnedCoordinator coordinator,
                             AskForPinnedCoordinator(options.coordinator, options.route, token.ca, kPatience));
  if (!options.federation.empty() && options.federation != coordinator.federation) {
    return CredentialsError(absl::StrCat("the token is of federation ", coordinator.federation, ", but the configuration says ",
                                         options.federation, "; correct one of them"));
  }
  const std::string new_key = options.files.key + ".new";
  TRIBUTARY_ASSIGN_OR_RETURN(const std::string key, KeyToEnrol(new_key));
  v1::EnrolRequest request;
  request.set_secret(token.secret);
  request.set_site(options.site);
  TRIBUTARY_ASSIGN_OR_RETURN(*request.mutable_csr(),
                             MakeCsr(key, new_key, {coordinator.federation, Role::kSite, options.site.empty() ? "site" : options.site}));
  TRIBUTARY_ASSIGN_OR_RETURN(const v1::EnrolResponse answer, AskUntilIssued(request, coordinator, options));
  const Identity identity = {coordinator.federation, Role::kSite, answer.site()};
  TRIBUTARY_RETURN_IF_ERROR(Store(answer.issued(), new_key, identity, options));
  return identity;
}

}  // namespace tributary::worker
