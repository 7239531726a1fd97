#include "doctor/finding.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_format.h"

namespace tributary::doctor {

void Ok(absl::string_view check, std::string detail, Findings* findings) {
  findings->push_back({std::string(check), Finding::Result::kOk, std::move(detail), ExitCode::kOk});
}

void Warn(absl::string_view check, std::string detail, Findings* findings) {
  findings->push_back({std::string(check), Finding::Result::kWarn, std::move(detail), ExitCode::kOk});
}

void Fail(absl::string_view check, std::string detail, ExitCode code, Findings* findings) {
  findings->push_back({std::string(check), Finding::Result::kFail, std::move(detail), code});
}

void Fail(absl::string_view check, const absl::Status& status, Findings* findings) {
  Fail(check, std::string(status.message()), ExitCodeOf(status), findings);
}

ExitCode Outcome(const Findings& findings) {
  for (const Finding& finding : findings) {
    if (finding.result == Finding::Result::kFail) {
      return finding.code;
    }
  }
  return ExitCode::kOk;
}

const char* ResultName(Finding::Result result) {
  switch (result) {
    case Finding::Result::kOk:
      return "ok";
    case Finding::Result::kWarn:
      return "warn";
    case Finding::Result::kFail:
      return "fail";
  }
  return "";
}

nlohmann::ordered_json FindingsJson(const Findings& findings) {
  nlohmann::ordered_json checks = nlohmann::ordered_json::array();
  for (const Finding& finding : findings) {
    checks.push_back({{"check", finding.check}, {"result", ResultName(finding.result)}, {"detail", finding.detail}});
  }
  return {{"ok", Outcome(findings) == ExitCode::kOk}, {"checks", checks}};
}

std::string FindingsPage(const Findings& findings, Format format) {
  if (format == Format::kJson) {
    return FindingsJson(findings).dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
  }
  size_t width = 0;
  for (const Finding& finding : findings) {
    width = std::max(width, finding.check.size());
  }
  std::string text;
  for (const Finding& finding : findings) {
    absl::StrAppendFormat(&text, "%-4s  %-*s  %s\n", ResultName(finding.result), static_cast<int>(width), finding.check, finding.detail);
  }
  return text;
}

}  // namespace tributary::doctor
