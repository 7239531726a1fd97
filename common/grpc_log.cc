#include "common/grpc_log.h"

#include <grpc/support/log.h>

#include <atomic>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"

namespace tributary {
namespace {

// gRPC takes a function without a closure.
std::atomic<LogLevel> error_level{LogLevel::kNone};

}  // namespace

void RouteGrpcLog(LogLevel level) {
  error_level = level;
  gpr_set_log_function([](gpr_log_func_args* args) {
    const LogLevel level = error_level;
    // Who listens on an address says more clearly why it cannot.
    if (level == LogLevel::kNone || args->severity != GPR_LOG_SEVERITY_ERROR || absl::StrContains(args->message, "No address added")) {
      return;
    }
    Log(level, "grpc", absl::StripAsciiWhitespace(args->message));
  });
}

}  // namespace tributary
