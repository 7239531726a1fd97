#include "common/enrolment_token.h"

#include <openssl/rand.h>

#include <algorithm>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace tributary {
namespace {

constexpr absl::string_view kPrefix = "tributary-";

}  // namespace

absl::StatusOr<EnrolmentToken> MakeEnrolmentToken(const Digest& ca) {
  EnrolmentToken token = {std::string(kTokenSecretBytes, '\0'), ca};
  if (RAND_bytes(reinterpret_cast<unsigned char*>(token.secret.data()), kTokenSecretBytes) != 1) {
    return absl::InternalError("the system has no random numbers");
  }
  return token;
}

std::string FormatToken(const EnrolmentToken& token) {
  return absl::StrCat(kPrefix, absl::WebSafeBase64Escape(token.secret + DigestBytes(token.ca)));
}

absl::StatusOr<EnrolmentToken> ParseToken(absl::string_view text) {
  text = absl::StripAsciiWhitespace(text);
  std::string bytes;
  if (!absl::ConsumePrefix(&text, kPrefix) || !absl::WebSafeBase64Unescape(text, &bytes) ||
      bytes.size() != kTokenSecretBytes + kDigestBytes) {
    return absl::InvalidArgumentError(
        "this is not a token of `tributary site token`: it begins with tributary- and has 96 characters; copy the whole line");
  }
  EnrolmentToken token;
  token.secret = bytes.substr(0, kTokenSecretBytes);
  std::copy(bytes.begin() + kTokenSecretBytes, bytes.end(), token.ca.begin());
  return token;
}

}  // namespace tributary
