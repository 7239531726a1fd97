#include "common/request_id.h"

#include <grpcpp/server_context.h>

#include <algorithm>
#include <cstdint>
#include <random>

#include "absl/strings/ascii.h"
#include "absl/strings/str_format.h"

namespace tributary {

std::string NewRequestId() {
  std::random_device device;
  return absl::StrFormat("%08x%08x", device(), device());
}

std::string RequestIdOf(const grpc::ServerContextBase& context) {
  constexpr size_t kMaxLength = 64;
  const auto found = context.client_metadata().find(kRequestIdKey);
  if (found == context.client_metadata().end()) {
    return "-";
  }
  const grpc::string_ref id = found->second;
  const bool is_one = !id.empty() && id.size() <= kMaxLength &&
                      std::all_of(id.begin(), id.end(), [](char c) { return absl::ascii_isalnum(c) || c == '.' || c == '_' || c == '-'; });
  return is_one ? std::string(id.begin(), id.end()) : "-";
}

}  // namespace tributary
