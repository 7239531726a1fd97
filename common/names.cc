#include "common/names.h"

#include <arpa/inet.h>

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"

namespace tributary {
namespace {

// Levenshtein distance, in which two neighbours that change places are one step.
size_t EditDistance(absl::string_view a, absl::string_view b) {
  std::vector<std::vector<size_t>> rows(a.size() + 1, std::vector<size_t>(b.size() + 1));
  for (size_t i = 0; i <= a.size(); ++i) {
    for (size_t j = 0; j <= b.size(); ++j) {
      size_t& distance = rows[i][j];
      distance = i + j;
      if (i > 0) {
        distance = std::min(distance, rows[i - 1][j] + 1);
      }
      if (j > 0) {
        distance = std::min(distance, rows[i][j - 1] + 1);
      }
      if (i > 0 && j > 0) {
        distance = std::min(distance, rows[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1));
      }
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        distance = std::min(distance, rows[i - 2][j - 2] + 1);
      }
    }
  }
  return rows[a.size()][b.size()];
}

// Of an interface's own addresses too: "fe80::1%eth0".
bool IsIpv6(absl::string_view host) {
  in6_addr address;
  return inet_pton(AF_INET6, std::string(host.substr(0, host.find('%'))).c_str(), &address) == 1;
}

bool IsHostName(absl::string_view host) {
  return std::all_of(host.begin(), host.end(), [](char c) { return absl::ascii_isalnum(c) || c == '-' || c == '.' || c == '_'; });
}

// What was meant by "https://host:443/".
std::string MeantByUrl(absl::string_view scheme, absl::string_view rest) {
  while (absl::ConsumePrefix(&rest, "/")) {
  }
  const absl::string_view host = rest.substr(0, rest.find_first_of("/?#"));
  const bool has_port = host.rfind(':') != absl::string_view::npos && host.back() != ']';
  return absl::StrCat("write ", host.empty() ? "HOST" : host,
                      has_port               ? ""
                      : scheme == "https://" ? ":443"
                                             : ":PORT",
                      ", without ", scheme);
}

// What is wrong with HOST:PORT and what was meant; empty if nothing is.
std::string ProblemOfHostPort(absl::string_view address, int least_port) {
  if (const size_t end = address.find("://"); end != absl::string_view::npos) {
    return absl::StrCat("is a URL; ", MeantByUrl(address.substr(0, end + 3), address.substr(end + 3)));
  }
  if (IsIpv6(address.substr(0, address.rfind(':')))) {
    const size_t colon = address.rfind(':');
    return absl::StrCat("has an IPv6 address without brackets; write [", address.substr(0, colon), "]", address.substr(colon));
  }
  if (IsIpv6(address)) {
    return absl::StrCat("has no port; write [", address, "]:PORT");
  }
  const size_t colon = address.rfind(':');
  // The colons inside an IPv6 address are in brackets.
  if (colon == absl::string_view::npos || address.find(']', colon) != absl::string_view::npos) {
    return "has no port; write HOST:PORT";
  }
  const absl::string_view host = address.substr(0, colon);
  const absl::string_view digits = address.substr(colon + 1);
  int port = -1;
  if (digits.empty() || !std::all_of(digits.begin(), digits.end(), absl::ascii_isdigit) || !absl::SimpleAtoi(digits, &port) ||
      port < least_port || port > 65535) {
    return absl::StrCat("has no port from ", least_port, " to 65535 after its last colon; write HOST:PORT");
  }
  if (host.empty()) {
    // Where port 0 is allowed, the address is one to listen on.
    return least_port == 0 ? absl::StrCat("has no host; write 0.0.0.0:", digits,
                                          " for all of this machine's addresses, or 127.0.0.1:", digits, " for this machine alone")
                           : absl::StrCat("has no host; write HOST:", digits);
  }
  if (host.front() == '[' && host.back() == ']') {
    return IsIpv6(host.substr(1, host.size() - 2)) ? "" : "has no IPv6 address in its brackets; write [ADDRESS]:PORT, or HOST:PORT";
  }
  return IsHostName(host) ? "" : absl::StrCat("has no host name before its last colon; write HOST:PORT");
}

}  // namespace

bool IsName(absl::string_view name) {
  const auto is_inner = [](char c) { return absl::ascii_islower(c) || absl::ascii_isdigit(c) || c == '-'; };
  return !name.empty() && name.size() <= 63 && std::all_of(name.begin(), name.end(), is_inner) && name.front() != '-' && name.back() != '-';
}

bool IsRunId(absl::string_view id) {
  const auto is_inner = [](char c) { return absl::ascii_islower(c) || absl::ascii_isdigit(c) || c == '-'; };
  return !id.empty() && id.size() <= 100 && id.front() != '-' && std::all_of(id.begin(), id.end(), is_inner);
}

absl::Status CheckHostPort(absl::string_view address, int least_port) {
  const std::string problem = ProblemOfHostPort(address, least_port);
  return problem.empty() ? absl::OkStatus() : absl::InvalidArgumentError(absl::StrCat("'", address, "' ", problem));
}

bool IsLoopback(absl::string_view host_port) {
  const absl::string_view host = host_port.substr(0, host_port.rfind(':'));
  in_addr address;
  return host == "localhost" || host == "[::1]" ||
         (inet_pton(AF_INET, std::string(host).c_str(), &address) == 1 && ntohl(address.s_addr) >> 24 == 127);
}

std::string DidYouMean(absl::string_view word, const std::vector<std::string>& known) {
  const auto nearest = std::min_element(known.begin(), known.end(),
                                        [&](const auto& a, const auto& b) { return EditDistance(word, a) < EditDistance(word, b); });
  if (nearest != known.end() && EditDistance(word, *nearest) <= std::max<size_t>(1, nearest->size() / 3)) {
    return absl::StrCat("; did you mean '", *nearest, "'?");
  }
  return absl::StrCat("; expected one of: ", absl::StrJoin(known, ", "));
}

}  // namespace tributary
