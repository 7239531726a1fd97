#include "common/exit_codes.h"

#include <gtest/gtest.h>

#include "absl/status/statusor.h"
#include "common/status_macros.h"

namespace tributary {
namespace {

TEST(ExitCodesTest, NumbersAreFrozen) {
  EXPECT_EQ(static_cast<int>(ExitCode::kOk), 0);
  EXPECT_EQ(static_cast<int>(ExitCode::kInternal), 1);
  EXPECT_EQ(static_cast<int>(ExitCode::kUsage), 2);
  EXPECT_EQ(static_cast<int>(ExitCode::kCredentials), 3);
  EXPECT_EQ(static_cast<int>(ExitCode::kUnreachable), 4);
  EXPECT_EQ(static_cast<int>(ExitCode::kData), 5);
  EXPECT_EQ(static_cast<int>(ExitCode::kConsent), 6);
  EXPECT_EQ(static_cast<int>(ExitCode::kStorage), 7);
  EXPECT_EQ(static_cast<int>(ExitCode::kDamaged), 8);
  EXPECT_EQ(static_cast<int>(ExitCode::kRunFailed), 9);
  EXPECT_EQ(static_cast<int>(ExitCode::kNotFound), 10);
  EXPECT_EQ(static_cast<int>(ExitCode::kMemory), 11);
  EXPECT_EQ(static_cast<int>(ExitCode::kInterrupted), 130);
}

TEST(ExitCodesTest, AStatusWithoutMarkGetsWhatFitsItsCode) {
  EXPECT_EQ(ExitCodeOf(absl::OkStatus()), ExitCode::kOk);
  EXPECT_EQ(ExitCodeOf(absl::InvalidArgumentError("")), ExitCode::kUsage);
  EXPECT_EQ(ExitCodeOf(absl::UnavailableError("")), ExitCode::kUnreachable);
  EXPECT_EQ(ExitCodeOf(absl::DeadlineExceededError("")), ExitCode::kUnreachable);
  EXPECT_EQ(ExitCodeOf(absl::UnauthenticatedError("")), ExitCode::kCredentials);
  EXPECT_EQ(ExitCodeOf(absl::PermissionDeniedError("")), ExitCode::kCredentials);
  EXPECT_EQ(ExitCodeOf(absl::NotFoundError("")), ExitCode::kNotFound);
  EXPECT_EQ(ExitCodeOf(absl::DataLossError("")), ExitCode::kDamaged);
  EXPECT_EQ(ExitCodeOf(absl::ResourceExhaustedError("")), ExitCode::kStorage);
  EXPECT_EQ(ExitCodeOf(absl::AbortedError("")), ExitCode::kInternal);
}

TEST(ExitCodesTest, AMarkOutweighsTheCodeAndSurvivesContext) {
  const absl::Status status = Annotate(WithExitCode(absl::InvalidArgumentError("row 3"), ExitCode::kData), "a.csv");
  EXPECT_EQ(ExitCodeOf(status), ExitCode::kData);
  EXPECT_EQ(status.message(), "a.csv: row 3");
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
}

TEST(ExitCodesTest, OkCannotBeMarkedOrAnnotated) {
  EXPECT_EQ(WithExitCode(absl::OkStatus(), ExitCode::kData), absl::OkStatus());
  EXPECT_EQ(Annotate(absl::OkStatus(), "context"), absl::OkStatus());
}

}  // namespace
}  // namespace tributary
