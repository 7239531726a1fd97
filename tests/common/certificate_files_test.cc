#include "common/certificate_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <condition_variable>
#include <mutex>
#include <optional>

#include "common/certificate_watch.h"
#include "common/exit_codes.h"
#include "common/files.h"
#include "common/log.h"
#include "common/pki.h"
#include "tests/common/test_folder.h"

namespace tributary {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

const Identity kBerlin{"demo", Role::kSite, "berlin"};

class CertificateFilesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(InitCa(directory_.path(), "demo", absl::Hours(24)).ok());
    Issue();
  }

  void Issue() { ASSERT_TRUE(IssueCertificate(directory_.path(), {.identity = kBerlin, .hosts = {}}).ok()); }
  TlsFiles Files() const { return {directory_.File("ca.crt"), directory_.File("site-berlin.crt"), directory_.File("site-berlin.key")}; }
  std::shared_ptr<CertificateFiles> Open() const { return CertificateFiles::Open(Files(), kBerlin).value(); }
  std::string Read(const std::string& name) const { return ReadFile(directory_.File(name), 10000).value(); }

  const TestFolder directory_;
};

TEST_F(CertificateFilesTest, HoldsWhatIsInTheFiles) {
  const auto files = Open();
  EXPECT_EQ(files->current()->certificate, Read("site-berlin.crt"));
  EXPECT_EQ(files->current()->key, Read("site-berlin.key"));
  EXPECT_EQ(files->current()->ca, Read("ca.crt"));
  EXPECT_THAT(files->current()->description, AllOf(HasSubstr("spiffe://demo/site/berlin"), HasSubstr("demo CA")));
}

TEST_F(CertificateFilesTest, DoesNotStartWithBadFiles) {
  directory_.Write("site-berlin.crt", "");
  EXPECT_EQ(ExitCodeOf(CertificateFiles::Open(Files(), kBerlin).status()), ExitCode::kCredentials);
}

TEST_F(CertificateFilesTest, NothingIsNewWhereNothingChanged) {
  const auto files = Open();
  const auto before = files->current();
  EXPECT_FALSE(files->Refresh().value());
  EXPECT_EQ(files->current(), before);
}

TEST_F(CertificateFilesTest, EveryMomentOfARotationKeepsWhatWasGood) {
  const auto files = Open();
  const auto before = files->current();
  const std::string old_key = Read("site-berlin.key");
  Issue();
  const std::string new_key = Read("site-berlin.key");
  for (const char* const name : {"site-berlin.crt", "site-berlin.key", "ca.crt"}) {
    const std::string whole = Read(name);
    for (const std::string& moment : {std::string(), whole.substr(0, whole.size() / 2), std::string("not PEM")}) {
      directory_.Write(name, moment);
      EXPECT_EQ(ExitCodeOf(files->Refresh().status()), ExitCode::kCredentials) << name << ": " << moment;
      EXPECT_EQ(files->current(), before);
    }
    directory_.Write(name, whole);
  }
  directory_.Write("site-berlin.key", old_key);
  EXPECT_THAT(std::string(files->Refresh().status().message()), HasSubstr("does not match"));
  EXPECT_EQ(files->current(), before);
  directory_.Write("site-berlin.key", new_key);
  EXPECT_TRUE(files->Refresh().value());
  EXPECT_EQ(files->current()->key, new_key);
}

TEST_F(CertificateFilesTest, OtherFilesAreFollowedOnlyIfTheyAreGood) {
  const auto files = Open();
  TlsFiles other = Files();
  other.certificate = directory_.File("none.crt");
  EXPECT_FALSE(files->MoveTo(other).ok());
  EXPECT_EQ(files->files().certificate, Files().certificate);
  directory_.Write("copy.crt", Read("site-berlin.crt"));
  other.certificate = directory_.File("copy.crt");
  EXPECT_FALSE(files->MoveTo(other).value()) << "the same bytes";
  EXPECT_EQ(files->files().certificate, other.certificate);
}

TEST_F(CertificateFilesTest, ACertificateEndsWithItsCa) {
  ASSERT_TRUE(InitCa(directory_.File("short"), "demo", absl::Hours(2)).ok());
  const CertificateRequest request = {.identity = kBerlin, .hosts = {}, .validity = absl::Hours(24)};
  ASSERT_TRUE(IssueCertificate(directory_.File("short"), request).ok());
  const auto pair = LoadCertificatePair(
      {directory_.File("short/ca.crt"), directory_.File("short/site-berlin.crt"), directory_.File("short/site-berlin.key")}, kBerlin);
  ASSERT_TRUE(pair.ok()) << pair.status();
  EXPECT_LT(pair->validity.end - pair->validity.begin, absl::Hours(3));
}

// What a watch last said, waited for.
class Observed {
 public:
  void Set(CertificateFilesState state) {
    const std::lock_guard<std::mutex> lock(mutex_);
    state_ = state;
    ++looks_;
    changed_.notify_all();
  }
  // Two looks on, so that what follows the first change has been said too.
  void WaitFor(CertificateFilesState state) {
    std::unique_lock<std::mutex> lock(mutex_);
    ASSERT_TRUE(changed_.wait_for(lock, std::chrono::seconds(30), [&] { return state_ == state; }));
    const int seen = looks_;
    ASSERT_TRUE(changed_.wait_for(lock, std::chrono::seconds(30), [&] { return looks_ >= seen + 2; }));
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::optional<CertificateFilesState> state_;
  int looks_ = 0;
};

TEST_F(CertificateFilesTest, AWatchSaysOnceThatFilesAreBadAndOnceThatTheyAreGoodAgain) {
  testing::internal::CaptureStderr();
  {
    Observed observed;
    const CertificateWatch watch(Open(), {.component = "worker",
                                          .interval = absl::Milliseconds(5),
                                          .observe = [&](const CertificatePair&, CertificateFilesState state) { observed.Set(state); }});
    observed.WaitFor(CertificateFilesState::kInUse);
    const std::string whole = Read("site-berlin.crt");
    directory_.Write("site-berlin.crt", "");
    observed.WaitFor(CertificateFilesState::kRefused);
    directory_.Write("site-berlin.crt", whole);
    observed.WaitFor(CertificateFilesState::kInUse);
  }
  const std::string log = testing::internal::GetCapturedStderr();
  EXPECT_THAT(log, AllOf(HasSubstr("WARNING worker: the certificate files are not good: "), HasSubstr("site-berlin.crt"),
                         HasSubstr("stays in use"), HasSubstr("INFO worker: the certificate files are good again")));
  EXPECT_EQ(std::count(log.begin(), log.end(), '\n'), 2) << log;
}

TEST(ExpiryWarnings, BeginWithTheLastThirdOfTheLifetimeAndComeOnceADay) {
  const absl::Time begin = absl::FromUnixSeconds(1'800'000'000);
  const absl::Duration day = absl::Hours(24);
  const Validity validity = {begin, begin + 30 * day};
  ExpiryWarnings warnings;
  EXPECT_EQ(warnings.Check("it", validity, begin + 19 * day), "");
  EXPECT_THAT(warnings.Check("it", validity, begin + 21 * day), HasSubstr("it expires in 9 days, on "));
  EXPECT_EQ(warnings.Check("it", validity, begin + 21 * day + absl::Hours(23)), "");
  EXPECT_THAT(warnings.Check("another", validity, begin + 21 * day), HasSubstr("another expires"));
  EXPECT_THAT(warnings.Check("it", validity, begin + 29 * day), HasSubstr("24 hours"));
  EXPECT_THAT(warnings.Check("it", validity, begin + 31 * day), HasSubstr("it expired on "));
}

TEST(ExpiryWarnings, ARenewedCertificateEndsThem) {
  const absl::Time begin = absl::FromUnixSeconds(1'800'000'000);
  ExpiryWarnings warnings;
  const absl::Time late = begin + absl::Hours(9);
  EXPECT_NE(warnings.Check("it", {begin, begin + absl::Hours(10)}, late), "");
  EXPECT_EQ(warnings.Check("it", {late, late + absl::Hours(10)}, late), "");
}

}  // namespace
}  // namespace tributary
