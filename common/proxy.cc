#include "common/proxy.h"

#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/exit_codes.h"
#include "common/names.h"
#include "common/status_macros.h"
#include "common/tls.h"

namespace tributary {
namespace {

// In order of precedence.
constexpr std::array<absl::string_view, 3> kProxyVariables = {"grpc_proxy", "https_proxy", "http_proxy"};
constexpr std::array<absl::string_view, 2> kExceptionVariables = {"no_grpc_proxy", "no_proxy"};

struct Variable {
  std::string name;
  std::string value;
};

template <size_t N>
std::optional<Variable> FirstSet(const std::array<absl::string_view, N>& names, const ProxyEnvironment& environment) {
  for (const absl::string_view lower : names) {
    for (const std::string& name : {std::string(lower), absl::AsciiStrToUpper(lower)}) {
      const auto found = environment.find(name);
      if (found != environment.end() && !absl::StripAsciiWhitespace(found->second).empty()) {
        return Variable{name, std::string(absl::StripAsciiWhitespace(found->second))};
      }
    }
  }
  return std::nullopt;
}

// "user%40corp" -> "user@corp"; nullopt: a % without two hexadecimal digits.
std::optional<std::string> PercentDecoded(absl::string_view text) {
  std::string decoded;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      decoded.push_back(text[i]);
      continue;
    }
    if (i + 2 >= text.size() || !absl::ascii_isxdigit(text[i + 1]) || !absl::ascii_isxdigit(text[i + 2])) {
      return std::nullopt;
    }
    decoded.append(absl::HexStringToBytes(text.substr(i + 1, 2)));
    i += 2;
  }
  return decoded;
}

// A URL as it may be shown.
std::string WithoutCredentials(absl::string_view url) {
  const size_t at = url.rfind('@');
  if (at == absl::string_view::npos) {
    return std::string(url);
  }
  const size_t scheme = url.find("://");
  return absl::StrCat(scheme == absl::string_view::npos ? "" : url.substr(0, scheme + 3), "...", url.substr(at));
}

absl::StatusOr<HttpProxy> ParseProxy(absl::string_view url, const std::string& source) {
  const auto refused = [&](absl::string_view why) {
    return WithExitCode(absl::InvalidArgumentError(absl::StrCat(source, ": '", WithoutCredentials(url), "' ", why)), ExitCode::kUsage);
  };
  absl::string_view rest = url;
  if (const size_t end = url.find("://"); end != absl::string_view::npos) {
    const std::string scheme = absl::AsciiStrToLower(url.substr(0, end));
    if (scheme == "https") {
      return refused(
          "is a proxy spoken to over TLS; only http:// is supported, and what goes through its tunnel is encrypted all the same");
    }
    if (scheme != "http") {
      return refused("is no HTTP proxy; write http://HOST:PORT of one that allows CONNECT");
    }
    rest.remove_prefix(end + 3);
  }
  HttpProxy proxy;
  proxy.source = source;
  if (const size_t at = rest.rfind('@'); at != absl::string_view::npos) {
    const absl::string_view credentials = rest.substr(0, at);
    const size_t colon = credentials.find(':');
    const std::optional<std::string> user = PercentDecoded(credentials.substr(0, colon));
    const std::optional<std::string> password =
        PercentDecoded(colon == absl::string_view::npos ? absl::string_view() : credentials.substr(colon + 1));
    if (!user.has_value() || !password.has_value()) {
      return refused("has a % without two hexadecimal digits before its @; write the character % as %25");
    }
    proxy.credentials = absl::StrCat(*user, ":", *password);
    rest.remove_prefix(at + 1);
  }
  absl::ConsumeSuffix(&rest, "/");
  if (const absl::Status checked = CheckHostPort(rest); !checked.ok()) {
    return refused(absl::StrCat("is not http://HOST:PORT: ", checked.message()));
  }
  proxy.address = std::string(rest);
  return proxy;
}

// An address in network byte order; empty: `host` is a name.
std::string AddressBytes(const std::string& host) {
  std::array<char, 16> bytes;
  if (inet_pton(AF_INET, host.c_str(), bytes.data()) == 1) {
    return {bytes.data(), 4};
  }
  if (inet_pton(AF_INET6, host.c_str(), bytes.data()) == 1) {
    return {bytes.data(), 16};
  }
  return "";
}

// "10.0.0.0/8" holds "10.1.2.3".
bool NetworkHolds(absl::string_view network, const std::string& address) {
  const size_t slash = network.find('/');
  const std::string base = AddressBytes(std::string(network.substr(0, slash)));
  size_t bits = base.size() * 8;
  if (base.empty() || base.size() != address.size() ||
      (slash != absl::string_view::npos && (!absl::SimpleAtoi(network.substr(slash + 1), &bits) || bits > base.size() * 8))) {
    return false;
  }
  for (size_t bit = 0; bit < bits; ++bit) {
    const int mask = 0x80 >> (bit % 8);
    if ((base[bit / 8] & mask) != (address[bit / 8] & mask)) {
      return false;
    }
  }
  return true;
}

// Whether a list as in no_proxy names the host or port of `address`.
bool Names(absl::string_view list, const std::string& address) {
  const size_t colon = address.rfind(':');
  std::string host = absl::AsciiStrToLower(address.substr(0, colon));
  if (host.front() == '[') {
    host = host.substr(1, host.size() - 2);
  }
  const std::string bytes = AddressBytes(host);
  for (const absl::string_view word : absl::StrSplit(list, absl::ByAnyChar(", \t"), absl::SkipEmpty())) {
    std::string entry = absl::AsciiStrToLower(word);
    if (entry == "*") {
      return true;
    }
    // An IPv6 address with a port is in brackets.
    const bool has_port = entry.front() == '[' ? absl::StrContains(entry, "]:") : std::count(entry.begin(), entry.end(), ':') == 1;
    if (has_port) {
      const size_t end = entry.rfind(':');
      if (entry.substr(end) != address.substr(colon)) {
        continue;
      }
      entry.resize(end);
    }
    if (entry.size() > 2 && entry.front() == '[' && entry.back() == ']') {
      entry = entry.substr(1, entry.size() - 2);
    }
    if (!bytes.empty()) {
      if (NetworkHolds(entry, bytes)) {
        return true;
      }
      continue;
    }
    absl::string_view domain = entry;
    absl::ConsumePrefix(&domain, "*");
    absl::ConsumePrefix(&domain, ".");
    if (!domain.empty() && (host == domain || absl::EndsWith(host, absl::StrCat(".", domain)))) {
      return true;
    }
  }
  return false;
}

std::string Shown(const HttpProxy& proxy) {
  return absl::StrCat("the proxy http://", proxy.address, " (", proxy.source, ")");
}

}  // namespace

ProxyEnvironment ProxyEnvironmentOf(const char* const* variables) {
  ProxyEnvironment environment;
  for (; *variables != nullptr; ++variables) {
    const std::pair<absl::string_view, absl::string_view> variable = absl::StrSplit(*variables, absl::MaxSplits('=', 1));
    const std::string lower = absl::AsciiStrToLower(variable.first);
    if (absl::c_linear_search(kProxyVariables, lower) || absl::c_linear_search(kExceptionVariables, lower)) {
      environment.emplace(variable.first, variable.second);
    }
  }
  return environment;
}

absl::StatusOr<Route> ChooseRoute(const std::string& address, const std::string& configured, const ProxyEnvironment& environment) {
  if (configured == kNoProxy) {
    return Route{std::nullopt, "directly (`proxy: none`)"};
  }
  if (!configured.empty()) {
    TRIBUTARY_ASSIGN_OR_RETURN(HttpProxy proxy, ParseProxy(configured, "`proxy`"));
    std::string how = absl::StrCat("through ", Shown(proxy));
    return Route{std::move(proxy), std::move(how)};
  }
  const std::optional<Variable> variable = FirstSet(kProxyVariables, environment);
  if (!variable.has_value()) {
    return Route();
  }
  if (CheckInsecureAddress(address).ok()) {
    return Route{std::nullopt, "directly (it is this machine)"};
  }
  if (const std::optional<Variable> except = FirstSet(kExceptionVariables, environment);
      except.has_value() && Names(except->value, address)) {
    return Route{std::nullopt, absl::StrCat("directly (", except->name, " in the environment names it)")};
  }
  absl::StatusOr<HttpProxy> proxy = ParseProxy(variable->value, absl::StrCat(variable->name, " in the environment"));
  if (!proxy.ok()) {
    return WithExitCode(absl::InvalidArgumentError(absl::StrCat(proxy.status().message(), "; or set `proxy: none` to go without it")),
                        ExitCode::kUsage);
  }
  std::string how = absl::StrCat("through ", Shown(*proxy));
  return Route{*std::move(proxy), std::move(how)};
}

std::string DescribeDestination(const std::string& address, const Route& route) {
  return route.proxy.has_value() ? absl::StrCat(address, " ", route.how) : address;
}

absl::Status ExplainProxyFailure(const absl::Status& status, const std::string& address, const Route& route) {
  constexpr absl::string_view kMark = "HTTP proxy returned response code ";
  const size_t mark = status.message().find(kMark);
  if (!route.proxy.has_value() || mark == absl::string_view::npos) {
    return status;
  }
  const HttpProxy& proxy = *route.proxy;
  const absl::string_view code = status.message().substr(mark + kMark.size(), 3);
  if (code == "407" && proxy.credentials.empty()) {
    return absl::UnavailableError(absl::StrCat("the proxy wants a user name and a password (407): set `proxy: http://USER:PASSWORD@",
                                               proxy.address, "`, with %XX for special characters"));
  }
  if (code == "407") {
    return absl::UnavailableError(
        "the proxy does not accept the user name and password that are set for it (407): correct them (%XX for special characters), and "
        "check that it takes Basic authentication");
  }
  if (code == "403" || code == "405") {
    return absl::UnavailableError(
        absl::StrCat("the proxy allows no tunnel to ", address, " (", code, "): have whoever runs it allow CONNECT to that host and port"));
  }
  return absl::UnavailableError(
      absl::StrCat("the proxy made no tunnel to ", address, " (", code, "): check that the coordinator can be reached from the proxy"));
}

}  // namespace tributary
