// What a check of `doctor` found, and how it is shown.
#ifndef TRIBUTARY_DOCTOR_FINDING_H_
#define TRIBUTARY_DOCTOR_FINDING_H_

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "common/exit_codes.h"

namespace tributary::doctor {

struct Finding {
  enum class Result { kOk, kWarn, kFail };
  std::string check;
  Result result = Result::kOk;
  std::string detail;             // what was found and, unless kOk, what to do
  ExitCode code = ExitCode::kOk;  // of a failure
};
using Findings = std::vector<Finding>;

void Ok(absl::string_view check, std::string detail, Findings* findings);
void Warn(absl::string_view check, std::string detail, Findings* findings);
void Fail(absl::string_view check, std::string detail, ExitCode code, Findings* findings);
void Fail(absl::string_view check, const absl::Status& status, Findings* findings);

// The exit code of the first failure; kOk if there is none.
ExitCode Outcome(const Findings& findings);

// "ok", "warn" or "fail".
const char* ResultName(Finding::Result result);

// {"ok": true, "checks": [{"check", "result", "detail"}, ...]}
nlohmann::ordered_json FindingsJson(const Findings& findings);
enum class Format { kText, kJson };
// One line each (result, check, detail), or FindingsJson in one line.
std::string FindingsPage(const Findings& findings, Format format);

}  // namespace tributary::doctor

#endif  // TRIBUTARY_DOCTOR_FINDING_H_
