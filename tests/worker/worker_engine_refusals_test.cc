// What the worker does when the coordinator does not let it in.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/exit_codes.h"
#include "tests/worker/engine_driver.h"
#include "worker/worker_engine.h"

namespace tributary::worker {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

ExitCode CodeOf(const EngineDriver& driver) {
  const auto* exit = driver.Find<action::Exit>();
  EXPECT_NE(exit, nullptr) << "the engine does not exit";
  return exit == nullptr ? ExitCode::kInternal : ExitCodeOf(exit->status);
}

TEST(RefusalTest, ARefusalEndsTheWorkerWithACodeForItsCause) {
  const std::pair<absl::Status, ExitCode> cases[] = {
      {absl::PermissionDeniedError("not in the registry"), ExitCode::kCredentials},
      {absl::UnauthenticatedError("another CA"), ExitCode::kCredentials},
      {absl::FailedPreconditionError("protocol version 2"), ExitCode::kUsage},
  };
  for (const auto& [status, code] : cases) {
    SCOPED_TRACE(status.ToString());
    EngineDriver driver;
    driver.Tick().Lose(status);
    EXPECT_EQ(CodeOf(driver), code);
    EXPECT_THAT(std::string(driver.Find<action::Exit>()->status.message()), HasSubstr(std::string(status.message())));
  }
}

TEST(RefusalTest, WhileAnotherWorkerHasTheSessionItKeepsTryingAndSaysWhy) {
  EngineDriver driver;
  driver.Tick();
  for (int attempt = 0; attempt < 20; ++attempt) {
    driver.Lose(absl::AlreadyExistsError("another worker has a session as site berlin"));
    EXPECT_EQ(driver.Find<action::Exit>(), nullptr);
    if (attempt == 0) {
      EXPECT_THAT(driver.Notes(), AllOf(HasSubstr("hub:1 does not let this worker in: another worker has"), HasSubstr("trying again")));
    }
    driver.AdvanceToWakeup();
  }
  driver.Welcome();
  EXPECT_TRUE(driver.engine().connected());
}

// Copies of one state folder, or a thief that has it too: neither ends, and they do not spin.
TEST(RefusalTest, AWorkerWhoseSessionIsTakenOverComesBackAfterTheLongestPause) {
  EngineDriver driver;
  driver.Tick().Welcome();
  const absl::Time now = driver.now();
  driver.Lose(absl::AbortedError("this worker has opened a newer session"));
  EXPECT_EQ(driver.Find<action::Exit>(), nullptr);
  EXPECT_EQ(driver.engine().NextWakeup(), now + EngineDriver::DefaultOptions().max_backoff);
}

TEST(RefusalTest, OnceReachedARefusalOfCredentialsIsTriedAgain) {
  EngineDriver driver;
  driver.Tick().Welcome().Lose();
  for (const absl::Status& status : {absl::UnauthenticatedError("the TLS handshake failed: presented was 'CN=portal'"),
                                     absl::PermissionDeniedError("not in the registry")}) {
    driver.AdvanceToWakeup().Lose(status);
    EXPECT_EQ(driver.Find<action::Exit>(), nullptr);
    EXPECT_THAT(driver.Notes(), AllOf(HasSubstr(std::string(status.message())), HasSubstr("trying again")));
  }
  driver.AdvanceToWakeup().Welcome();
  EXPECT_TRUE(driver.engine().connected());
}

TEST(RefusalTest, OfACertificateThatIsRefusedNoSideIsBlamedBeforeItsReason) {
  EngineDriver driver;
  driver.Tick().Lose(absl::UnauthenticatedError("the TLS handshake failed: the server's certificate is not trusted here"));
  EXPECT_EQ(driver.Find<action::Exit>()->status.message(),
            "no session with the coordinator at hub:1: the TLS handshake failed: the server's certificate is not trusted here");
}

}  // namespace
}  // namespace tributary::worker
