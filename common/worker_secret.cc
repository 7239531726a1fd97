#include "common/worker_secret.h"

#include <openssl/rand.h>

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "common/assert.h"

namespace tributary {
namespace {

constexpr size_t kBytes = 16;

}  // namespace

std::string NewWorkerSecret() {
  std::string bytes(kBytes, '\0');
  const int made = RAND_bytes(reinterpret_cast<unsigned char*>(bytes.data()), static_cast<int>(bytes.size()));
  TRIBUTARY_ASSERT(made == 1, "OpenSSL has no random bytes");
  return absl::BytesToHexString(bytes);
}

bool IsWorkerSecret(absl::string_view text) {
  return text.size() == 2 * kBytes &&
         std::all_of(text.begin(), text.end(), [](char c) { return absl::ascii_isdigit(c) || (c >= 'a' && c <= 'f'); });
}

}  // namespace tributary
