// Commands that need no coordinator, and what a wrong command line gets.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/certificate_files.h"
#include "common/files.h"
#include "common/memory_limits.h"
#include "common/pki.h"
#include "doctor/checks.h"
#include "tests/cli/run_command.h"
#include "tests/common/test_folder.h"

namespace tributary::cli {
namespace {

using ::testing::ContainsRegex;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;
using Json = nlohmann::json;

constexpr char kRun[] =
    "name: r\nrounds: 3\nmodel: {gpt: {}}\ndata: {kind: text}\noptimizer: {mode: distro, learning_rate: {peak: 1e-3}}\n";

// Of ports that are nobody else's.
constexpr char kCoordinator[] =
    "federation: demo\ndata_dir: data\nsites: [berlin]\noperators: [ada]\n"
    "listen: 127.0.0.1:0\nhealth_listen: 127.0.0.1:0\nmetrics_listen: 127.0.0.1:0\n";

void Write(const std::string& path, absl::string_view text) {
  ASSERT_TRUE(WriteFileAtomically(path, text).ok());
}

class OfflineTest : public ::testing::Test {
 protected:
  // A CA with one certificate of each role.
  void MakePki() {
    const std::string dir = directory_.File("pki");
    ASSERT_EQ(RunCommand({"pki", "init", dir, "--federation", "demo"}).code, ExitCode::kOk);
    ASSERT_EQ(RunCommand({"pki", "issue", dir, "--coordinator", "--host", "127.0.0.1", "--host", "localhost"}).code, ExitCode::kOk);
    ASSERT_EQ(RunCommand({"pki", "issue", dir, "--site", "berlin"}).code, ExitCode::kOk);
    ASSERT_EQ(RunCommand({"pki", "issue", dir, "--operator", "ada"}).code, ExitCode::kOk);
  }

  std::string Tls(const std::string& stem) const {
    return "tls: {ca: pki/ca.crt, certificate: pki/" + stem + ".crt, key: pki/" + stem + ".key}\n";
  }

  const TestFolder directory_;
};

TEST_F(OfflineTest, HelpIsNoError) {
  const Result result = RunCommand({"--help"});
  EXPECT_EQ(result.code, ExitCode::kOk);
  EXPECT_THAT(result.out, HasSubstr("doctor"));
}

// What bash offers for `line`, whose last word is being written.
std::string Completed(const TestFolder& folder, const std::string& line) {
  const std::string script = folder.File("complete.bash");
  Write(script, absl::StrCat(RunCommand({"completion", "bash"}).out, "COMP_WORDS=(", line, ")\nCOMP_CWORD=$((${#COMP_WORDS[@]} - 1))\n",
                             "_tributary\necho \"${COMPREPLY[*]}\" > ", folder.File("completed"), "\n"));
  EXPECT_EQ(std::system(absl::StrCat("bash -u ", script).c_str()), 0);
  return std::string(absl::StripAsciiWhitespace(ReadFile(folder.File("completed"), 1 << 10).value_or("")));
}

TEST_F(OfflineTest, BashCompletesCommandsOptionsAndValues) {
  EXPECT_EQ(Completed(directory_, "tributary re"), "report restore");
  EXPECT_EQ(Completed(directory_, "tributary --config operator.yaml run st"), "status stop");
  EXPECT_EQ(Completed(directory_, "tributary run history bible --fo"), "--follow --format");
  EXPECT_EQ(Completed(directory_, "tributary run list --format ''"), "text json csv");
  EXPECT_EQ(Completed(directory_, "tributary run submit ''"), "") << "a file";
  EXPECT_EQ(Completed(directory_, "tributary pki issue --si"), "--site");
}

TEST_F(OfflineTest, ZshReadsTheSameThroughItsBashcompinit) {
  EXPECT_THAT(RunCommand({"completion", "zsh"}).out, StartsWith("autoload -U +X bashcompinit && bashcompinit\n_tributary() {"));
}

TEST_F(OfflineTest, AWrongCommandLineIsAnErrorOfUsage) {
  EXPECT_EQ(RunCommand({}).code, ExitCode::kUsage);
  EXPECT_EQ(RunCommand({"fly"}).code, ExitCode::kUsage);
  EXPECT_EQ(RunCommand({"run", "submit"}).code, ExitCode::kUsage);
  EXPECT_EQ(RunCommand({"run", "list", "--format", "xml"}).code, ExitCode::kUsage);
  EXPECT_EQ(RunCommand({"run", "list", "--format", "csv"}).code, ExitCode::kUsage);
  EXPECT_EQ(RunCommand({"version", "--format", "csv"}).code, ExitCode::kUsage);
  EXPECT_EQ(RunCommand({"pki", "issue", directory_.path(), "--site", "a", "--operator", "b"}).code, ExitCode::kUsage);
  EXPECT_EQ(RunCommand({"doctor", "--worker", "w.yaml", "--coordinator", "c.yaml"}).code, ExitCode::kUsage);
}

TEST_F(OfflineTest, AnUnknownCommandIsNamedWithTheOneThatMayBeMeant) {
  EXPECT_THAT(RunCommand({"docter"}).err, StartsWith("tributary: unknown command 'docter'; did you mean 'doctor'?"));
  EXPECT_THAT(RunCommand({"run", "statsu"}).err, StartsWith("tributary run: unknown command 'statsu'; did you mean 'status'?"));
  EXPECT_THAT(
      RunCommand({"fly"}).err,
      HasSubstr("expected one of: run, site, export, model, report, compare, journal, backup, restore, audit, pki, doctor, version"));
  EXPECT_THAT(RunCommand({"run", "list", "fly"}).err, HasSubstr("not expected: fly")) << "an extra argument is not taken for a command";
  EXPECT_THAT(RunCommand({}).err, HasSubstr("A subcommand is required"));
}

TEST_F(OfflineTest, AnErrorOfUsageIsOneLineWithTheProgramsNameAndWhereToLook) {
  EXPECT_EQ(RunCommand({"run", "submit"}).err, "tributary run submit: FILE is required; see: tributary run submit --help\n");
  for (const std::vector<std::string>& command :
       {std::vector<std::string>{}, {"docter"}, {"--confg", "x"}, {"run", "list", "--format", "xml"}, {"export", "--round", "x"}}) {
    const std::string error = RunCommand(command).err;
    EXPECT_THAT(error, StartsWith("tributary"));
    EXPECT_THAT(error, EndsWith(" --help\n"));
    EXPECT_EQ(std::count(error.begin(), error.end(), '\n'), 1) << error;
  }
}

TEST_F(OfflineTest, OutputThatIsLostIsAnError) {
  Environment environment;
  std::ostringstream out, err;
  Interrupt never;
  environment.out = &out;
  environment.err = &err;
  environment.interrupt = &never;
  environment.clock = &Clock::Real();
  environment.flush = [] { return StorageError("write", "standard output", ENOSPC); };
  for (const std::vector<std::string>& command : {std::vector<std::string>{"version"}, {"--help"}, {"--version"}}) {
    EXPECT_EQ(RunTributary(command, environment), ExitCode::kStorage);
    EXPECT_THAT(err.str(), HasSubstr("tributary: cannot write standard output: No space left on device; free some space"));
  }
}

TEST_F(OfflineTest, AnUnknownOptionIsNotTakenForACommand) {
  for (const std::vector<std::string>& command :
       {std::vector<std::string>{"--confg", "operator.yaml"}, {"run", "--confg", "operator.yaml"}, {"--confg", "operator.yaml", "run"}}) {
    const Result result = RunCommand(command);
    EXPECT_EQ(result.code, ExitCode::kUsage);
    EXPECT_THAT(result.err, Not(HasSubstr("'operator.yaml'")));
  }
}

TEST_F(OfflineTest, VersionIsTextOrJson) {
  const std::string version = RunCommand({"version"}).out;
  EXPECT_THAT(version, StartsWith(absl::StrCat("tributary ", TRIBUTARY_VERSION, ", protocol 1, ")));
  EXPECT_THAT(version, HasSubstr(" build"));
  EXPECT_THAT(version, StartsWith(RunCommand({"--version"}).out)) << "the first line";
  EXPECT_THAT(version, ContainsRegex("\ngrpc 1\\.[0-9.]+\n"));
  const Json json = Json::parse(RunCommand({"version", "--format", "json"}).out);
  EXPECT_EQ(json.at("protocol_version"), 1);
  EXPECT_TRUE(json.at("build").contains("openssl"));
}

TEST_F(OfflineTest, PkiMakesFilesThatPassTheirCheck) {
  MakePki();
  const std::string dir = directory_.File("pki");
  EXPECT_EQ(
      LoadCertificatePair({dir + "/ca.crt", dir + "/site-berlin.crt", dir + "/site-berlin.key"}, {"demo", Role::kSite, "berlin"}).status(),
      absl::OkStatus());
}

TEST_F(OfflineTest, PkiSaysInJsonWhatItMade) {
  const std::string dir = directory_.File("pki");
  RunCommand({"pki", "init", dir, "--federation", "demo"});
  const Json json = Json::parse(RunCommand({"pki", "issue", dir, "--site", "berlin", "--format", "json"}).out);
  EXPECT_EQ(json.at("spiffe_id"), "spiffe://demo/site/berlin");
  EXPECT_TRUE(std::filesystem::exists(json.at("key").get<std::string>()));
}

TEST_F(OfflineTest, PkiNeverOverwritesACa) {
  MakePki();
  const Result again = RunCommand({"pki", "init", directory_.File("pki"), "--federation", "demo"});
  EXPECT_EQ(again.code, ExitCode::kUsage);
  EXPECT_THAT(again.err, HasSubstr("never overwritten"));
}

TEST_F(OfflineTest, PkiReplacesAKeyOnlyIfToldTo) {
  MakePki();
  const std::string dir = directory_.File("pki");
  const std::string key = *ReadFile(dir + "/site-berlin.key", 10'000);
  const Result again = RunCommand({"pki", "issue", dir, "--site", "berlin"});
  EXPECT_EQ(again.code, ExitCode::kUsage);
  EXPECT_THAT(again.err, HasSubstr("site-berlin.key already exists"));
  EXPECT_THAT(again.err, HasSubstr("--force"));
  EXPECT_EQ(*ReadFile(dir + "/site-berlin.key", 10'000), key);
  EXPECT_EQ(RunCommand({"pki", "issue", dir, "--site", "berlin", "--force"}).code, ExitCode::kOk);
  EXPECT_NE(*ReadFile(dir + "/site-berlin.key", 10'000), key);
}

TEST_F(OfflineTest, ACertificateIsSignedWithoutTheKeyLeavingItsMachine) {
  MakePki();
  const std::string ca = directory_.File("pki");
  const std::string site = directory_.File("at-the-site");
  const Json request = Json::parse(RunCommand({"pki", "request", site, "--federation", "demo", "--site", "lyon", "--format", "json"}).out);
  EXPECT_EQ(request.at("spiffe_id"), "spiffe://demo/site/lyon");
  const Result twice = RunCommand({"pki", "request", site, "--federation", "demo", "--site", "lyon"});
  EXPECT_EQ(twice.code, ExitCode::kUsage);
  EXPECT_THAT(twice.err, HasSubstr("site-lyon.key already exists; add --force"));
  const std::string certificate = site + "/site-lyon.crt";
  const Result made = RunCommand({"pki", "sign", ca, request.at("request"), "--site", "lyon", "--output", certificate, "--format", "json"});
  ASSERT_EQ(made.code, ExitCode::kOk) << made.err;
  EXPECT_EQ(Json::parse(made.out).at("certificate"), certificate);
  EXPECT_FALSE(Json::parse(made.out).contains("key"));
  EXPECT_EQ(LoadCertificatePair({ca + "/ca.crt", certificate, request.at("key")}, {"demo", Role::kSite, "lyon"}).status(),
            absl::OkStatus());
}

TEST_F(OfflineTest, ARequestThatWasAlteredIsNamedByItsFile) {
  MakePki();
  Write(directory_.File("lyon.csr"), "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n");
  const Result result = RunCommand({"pki", "sign", directory_.File("pki"), directory_.File("lyon.csr"), "--site", "lyon"});
  EXPECT_EQ(result.code, ExitCode::kUsage);
  EXPECT_THAT(result.err, HasSubstr("lyon.csr: it is no request for a certificate"));
}

TEST_F(OfflineTest, PkiRefusesANameThatNoFileCanHave) {
  MakePki();
  const Result result = RunCommand({"pki", "issue", directory_.File("pki"), "--site", std::string(300, 'a')});
  EXPECT_EQ(result.code, ExitCode::kUsage);
  EXPECT_THAT(result.err, HasSubstr("use 1 to 63 characters"));
}

TEST_F(OfflineTest, PkiWithoutACaSaysSo) {
  const Result result = RunCommand({"pki", "issue", directory_.path(), "--site", "berlin"});
  EXPECT_EQ(result.code, ExitCode::kCredentials);
  EXPECT_THAT(result.err, HasSubstr("ca.crt: No such file"));
}

TEST_F(OfflineTest, ErrorsAreJsonWhereJsonIsAsked) {
  const Result result = RunCommand({"run", "list", "--format", "json"});
  EXPECT_EQ(result.code, ExitCode::kUsage);
  const Json json = Json::parse(result.err);
  EXPECT_EQ(json.at("exit_code"), 2);
  EXPECT_THAT(json.at("error").get<std::string>(), HasSubstr("--coordinator HOST:PORT"));
}

TEST_F(OfflineTest, ARunFileIsCheckedBeforeAnyConnection) {
  Write(directory_.File("run.yaml"), std::string(kRun) + "rouds: 4\n");
  Result result = RunCommand({"run", "submit", directory_.File("run.yaml")});
  EXPECT_EQ(result.code, ExitCode::kUsage);
  EXPECT_THAT(result.err, HasSubstr("run.yaml:6: rouds: unknown key; did you mean 'rounds'?"));
  Write(directory_.File("run.yaml"), std::string(kRun) + "participation: {min_workers: 5, max_workers: 4}\n");
  result = RunCommand({"run", "submit", directory_.File("run.yaml")});
  EXPECT_EQ(result.code, ExitCode::kUsage);
  EXPECT_THAT(result.err, HasSubstr("run.yaml: participation.min_workers: 5 is more than max_workers, 4"));
}

TEST_F(OfflineTest, InsecureIsForLoopback) {
  const std::vector<std::string> command = {"run",  "list",   "--insecure", "--coordinator", "192.0.2.1:1", "--federation",
                                            "demo", "--name", "ada"};
  const Result result = RunCommand(command);
  EXPECT_EQ(result.code, ExitCode::kUsage);
  EXPECT_THAT(result.err, HasSubstr("--insecure-anywhere"));
}

TEST_F(OfflineTest, InsecureNeedsToKnowWhoCalls) {
  const Result result = RunCommand({"run", "list", "--insecure", "--coordinator", "127.0.0.1:1"});
  EXPECT_EQ(result.code, ExitCode::kUsage);
  EXPECT_THAT(result.err, HasSubstr("--federation NAME and --name OPERATOR"));
}

TEST_F(OfflineTest, ASitesCertificateIsNoOperators) {
  MakePki();
  Write(directory_.File("operator.yaml"), "federation: demo\ncoordinator: 127.0.0.1:1\n" + Tls("site-berlin"));
  const Result result = RunCommand({"run", "list"}, directory_.File("operator.yaml"));
  EXPECT_EQ(result.code, ExitCode::kCredentials);
  EXPECT_THAT(result.err, HasSubstr("is not the certificate of an operator or auditor (it names spiffe://demo/site/berlin)"));
}

TEST_F(OfflineTest, AnUnreachableCoordinatorIsNamedWithItsCause) {
  MakePki();
  Write(directory_.File("operator.yaml"), "federation: demo\ncoordinator: 127.0.0.1:1\n" + Tls("operator-ada"));
  const Result result = RunCommand({"run", "list", "--config", directory_.File("operator.yaml")});
  EXPECT_EQ(result.code, ExitCode::kUnreachable);
  EXPECT_THAT(result.err, ContainsRegex("^tributary: cannot reach the coordinator at 127.0.0.1:1: .*; check that it is running"));
}

TEST_F(OfflineTest, DoctorFindsASiteInOrderUpToTheCoordinator) {
  MakePki();
  ASSERT_TRUE(MakeDirectories(directory_.File("data")).ok());
  Write(directory_.File("data/a.txt"), "text");
  Write(directory_.File("worker.yaml"),
        "federation: demo\nsite: berlin\ncoordinator: 127.0.0.1:1\ndata: data\nstate_dir: state\n"
        "consent: {runs: ['*'], models: [gpt]}\n" +
            Tls("site-berlin"));
  const Result result = RunCommand({"doctor", "--worker", directory_.File("worker.yaml"), "--format", "json"});
  EXPECT_EQ(result.code, ExitCode::kUnreachable);
  const Json json = Json::parse(result.out);
  EXPECT_EQ(json.at("ok"), false);
  for (const Json& check : json.at("checks")) {
    EXPECT_EQ(check.at("result"), check.at("check") == "coordinator" ? "fail" : "ok") << check;
  }
  EXPECT_EQ(json.at("checks").size(), 12u);
}

TEST_F(OfflineTest, DoctorShowsTheLimitsOfASite) {
  Write(directory_.File("worker.yaml"),
        "federation: demo\nsite: berlin\ncoordinator: 127.0.0.1:1\ndata: data\nstate_dir: state\n"
        "consent: {runs: ['*'], models: [gpt]}\nbandwidth: {up: 500KiB}\nquiet_hours: ['08:00-18:30', '22:00-24:00']\n" +
            Tls("site-berlin"));
  EXPECT_THAT(RunCommand({"doctor", "--worker", directory_.File("worker.yaml")}).out,
              HasSubstr("up 500.00 KiB a second; quiet hours 08:00-18:30, 22:00-24:00 by the clock of UTC (UTC, UTC+00:00), where it is "));
  EXPECT_THAT(RunCommand({"doctor", "--worker", directory_.File("worker.yaml")}, "", false, nullptr, "Europe/Berln").out,
              HasSubstr("quiet_hours: cannot load the time zone TZ=Europe/Berln"));
}

TEST_F(OfflineTest, DoctorShowsTheWayToTheCoordinator) {
  const auto doctor = [&](const std::string& more, ProxyEnvironment environment) {
    Write(directory_.File("worker.yaml"),
          absl::StrCat("federation: demo\nsite: berlin\ncoordinator: coordinator.example.org:8443\ndata: data\nstate_dir: state\n"
                       "consent: {runs: ['*'], models: [gpt]}\n",
                       more, Tls("site-berlin")));
    return RunCommand({"doctor", "--worker", directory_.File("worker.yaml")}, "", false, nullptr, "UTC", std::move(environment)).out;
  };
  const ProxyEnvironment environment = {{"HTTPS_PROXY", "http://ada:secret@proxy.example.org:3128"}};
  EXPECT_THAT(doctor("", {}), ContainsRegex("ok +path +to coordinator.example.org:8443 directly\n"));
  EXPECT_THAT(doctor("", environment), HasSubstr("to coordinator.example.org:8443 through the proxy http://proxy.example.org:3128 "
                                                 "(HTTPS_PROXY in the environment)\n"));
  EXPECT_THAT(doctor("proxy: none\n", environment), HasSubstr("to coordinator.example.org:8443 directly (`proxy: none`)\n"));
  EXPECT_THAT(doctor("proxy: socks5://proxy:1080\n", {}), ContainsRegex("fail +configuration .*is no HTTP proxy"));
}

TEST_F(OfflineTest, DoctorTellsWhatWasMeantByAnAddress) {
  Write(directory_.File("worker.yaml"),
        "federation: demo\nsite: berlin\ncoordinator: https://host:443\ndata: data\nstate_dir: state\n"
        "consent: {runs: ['*'], models: [gpt]}\n" +
            Tls("site-berlin"));
  const Result site = RunCommand({"doctor", "--worker", directory_.File("worker.yaml")});
  EXPECT_EQ(site.code, ExitCode::kUsage);
  EXPECT_THAT(site.out, HasSubstr("coordinator: 'https://host:443' is a URL; write host:443, without https://"));
  Write(directory_.File("coordinator.yaml"),
        "federation: demo\ndata_dir: data\nlisten: '::1:8443'\nsites: [berlin]\noperators: [ada]\n" + Tls("coordinator"));
  const Result coordinator = RunCommand({"doctor", "--coordinator", directory_.File("coordinator.yaml")});
  EXPECT_EQ(coordinator.code, ExitCode::kUsage);
  EXPECT_THAT(coordinator.out, HasSubstr("listen: '::1:8443' has an IPv6 address without brackets; write [::1]:8443"));
}

TEST_F(OfflineTest, AnOperatorsAddressIsCheckedBeforeItIsCalled) {
  Write(directory_.File("operator.yaml"), "federation: demo\ncoordinator: ':8443'\n" + Tls("operator-ada"));
  const Result result = RunCommand({"--config", directory_.File("operator.yaml"), "run", "list"});
  EXPECT_EQ(result.code, ExitCode::kUsage);
  EXPECT_THAT(result.err, HasSubstr("coordinator: ':8443' has no host; write HOST:8443"));
}

TEST_F(OfflineTest, DoctorTellsWhatIsWrongWithASite) {
  MakePki();
  ASSERT_TRUE(MakeDirectories(directory_.File("data")).ok());
  std::filesystem::permissions(directory_.File("pki/site-berlin.key"), std::filesystem::perms(0644));
  Write(directory_.File("worker.yaml"),
        "federation: demo\nsite: paris\ncoordinator: 127.0.0.1:1\ndata: data\nstate_dir: worker.yaml/state\n"
        "consent: {runs: ['*'], models: [gpt]}\n" +
            Tls("site-berlin"));
  const Result result = RunCommand({"doctor", "--worker", directory_.File("worker.yaml")});
  EXPECT_EQ(result.code, ExitCode::kCredentials);
  EXPECT_THAT(result.out, HasSubstr("but spiffe://demo/site/paris is needed"));
  EXPECT_THAT(result.out, HasSubstr("holds no files"));
  EXPECT_THAT(result.out, HasSubstr("worker.yaml is not a folder"));
}

TEST_F(OfflineTest, DoctorChecksACoordinatorsFile) {
  MakePki();
  Write(directory_.File("coordinator.yaml"), kCoordinator + Tls("coordinator"));
  EXPECT_EQ(RunCommand({"doctor", "--coordinator", directory_.File("coordinator.yaml")}).code, ExitCode::kOk);
  ASSERT_TRUE(IssueCertificate(directory_.File("pki"),
                               {.identity = {"demo", Role::kCoordinator, ""}, .hosts = {"localhost"}, .validity = -absl::Hours(1)})
                  .ok());
  const Result expired = RunCommand({"doctor", "--coordinator", directory_.File("coordinator.yaml")});
  EXPECT_EQ(expired.code, ExitCode::kCredentials);
  EXPECT_THAT(expired.out, HasSubstr("tributary pki issue DIR --coordinator --host HOST"));
}

TEST_F(OfflineTest, DoctorWarnsInTheLastThirdOfACertificatesLifetime) {
  MakePki();
  ASSERT_TRUE(
      IssueCertificate(
          directory_.File("pki"),
          {.identity = {"demo", Role::kCoordinator, ""}, .hosts = {"localhost"}, .validity = absl::Hours(9), .backdate = absl::Hours(21)})
          .ok());
  Write(directory_.File("coordinator.yaml"), kCoordinator + Tls("coordinator"));
  const Result result = RunCommand({"doctor", "--coordinator", directory_.File("coordinator.yaml")});
  EXPECT_EQ(result.code, ExitCode::kOk);
  EXPECT_THAT(result.out, ContainsRegex("warn +certificate .*renew it now"));
}

TEST(DoctorTest, TooLittleMemoryFailsAndLittleWarns) {
  doctor::Findings findings;
  for (const uint64_t available : {99u, 100u, 1000u}) {
    doctor::CheckMemory(MemoryLimits{2000, available, "control group /x"}, 100, &findings);
  }
  doctor::CheckMemory(absl::UnavailableError("no /proc"), 100, &findings);
  ASSERT_EQ(findings.size(), 3u);
  EXPECT_EQ(findings[0].result, doctor::Finding::Result::kFail);
  EXPECT_EQ(findings[0].code, ExitCode::kMemory);
  EXPECT_THAT(findings[0].detail, HasSubstr("(control group /x); give it more"));
  EXPECT_EQ(findings[1].result, doctor::Finding::Result::kWarn);
  EXPECT_EQ(findings[2].result, doctor::Finding::Result::kOk);
}

TEST_F(OfflineTest, DoctorOnABadFileSaysWhere) {
  Write(directory_.File("worker.yaml"), "federation: demo\nsit: berlin\n");
  const Result result = RunCommand({"doctor", "--worker", directory_.File("worker.yaml")});
  EXPECT_EQ(result.code, ExitCode::kUsage);
  EXPECT_THAT(result.out, HasSubstr("worker.yaml:2: sit: unknown key; did you mean 'site'?"));
}

}  // namespace
}  // namespace tributary::cli
