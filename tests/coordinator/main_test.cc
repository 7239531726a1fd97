// The program itself, as a separate process.
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/common/test_folder.h"
#include "tests/coordinator/rpc/rpc_support.h"

extern char** environ;

namespace tributary::coordinator {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// A running program whose output (both streams) is read line by line.
class Process {
 public:
  explicit Process(const std::vector<std::string>& arguments) {
    int ends[2];
    EXPECT_EQ(pipe2(ends, O_CLOEXEC), 0);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDERR_FILENO);
    std::vector<char*> argv = {const_cast<char*>(TRIBUTARY_COORDINATOR_PROGRAM)};
    for (const std::string& argument : arguments) {
      argv.push_back(const_cast<char*>(argument.c_str()));
    }
    argv.push_back(nullptr);
    EXPECT_EQ(posix_spawn(&pid_, argv[0], &actions, nullptr, argv.data(), environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    output_ = fdopen(ends[0], "r");
  }
  ~Process() {
    if (pid_ > 0) {
      kill(pid_, SIGKILL);
      Wait();
    }
    fclose(output_);
  }

  // Reads until a line contains `text`; false at the end of output.
  bool ReadUntil(const std::string& text) {
    char* line = nullptr;
    size_t capacity = 0;
    bool found = false;
    while (!found && getline(&line, &capacity, output_) >= 0) {
      all_output_ += line;
      found = absl::StrContains(line, text);
    }
    free(line);
    return found;
  }
  void Signal(int number) const { kill(pid_, number); }
  // The exit code; minus the signal if one killed it.
  int Wait() {
    ReadUntil("no line says this");
    int status = 0;
    waitpid(pid_, &status, 0);
    pid_ = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }
  const std::string& output() const { return all_output_; }

 private:
  pid_t pid_ = 0;
  FILE* output_ = nullptr;
  std::string all_output_;
};

class CoordinatorProgramTest : public ::testing::Test {
 protected:
  std::string Configure(const std::string& more = "") {
    const TlsFiles files = FilesFor("coordinator");
    const std::string path = folder_.File("coordinator.yaml");
    std::ofstream(path) << "federation: test\ndata_dir: data\nlisten: 127.0.0.1:0\nhealth_listen: 127.0.0.1:0\nmetrics_listen: ''\n"
                        << "sites: [berlin]\noperators: [alice]\ntls:\n  ca: " << files.ca << "\n  certificate: " << files.certificate
                        << "\n  key: " << files.key << "\n"
                        << more;
    return path;
  }
  std::string Endpoints() const { return folder_.File("data/endpoints.json"); }

  const TestFolder folder_;
};

TEST_F(CoordinatorProgramTest, StopsInGoodOrderOnSigterm) {
  Process program({"--config", Configure()});
  ASSERT_TRUE(program.ReadUntil("serving")) << program.output();
  EXPECT_TRUE(std::filesystem::exists(Endpoints()));
  program.Signal(SIGTERM);
  EXPECT_EQ(program.Wait(), 0) << program.output();
  EXPECT_FALSE(std::filesystem::exists(Endpoints()));
}

TEST_F(CoordinatorProgramTest, ReadsItsConfigurationAgainOnSighup) {
  const std::string config = Configure();
  Process program({"--config", config});
  ASSERT_TRUE(program.ReadUntil("serving")) << program.output();
  Configure("lease: 60s\nlog_level: warning\n");
  program.Signal(SIGHUP);
  ASSERT_TRUE(program.ReadUntil("reloaded: ")) << program.output();
  EXPECT_THAT(program.output(), HasSubstr("reloaded: log_level. Changed, and not in force before a restart: lease"));
  program.Signal(SIGTERM);
  EXPECT_EQ(program.Wait(), 0) << program.output();
  EXPECT_THAT(program.output(), Not(HasSubstr("stopped"))) << "only warnings are logged now";
}

TEST_F(CoordinatorProgramTest, ABadConfigurationOnSighupLeavesItAsItWas) {
  const std::string config = Configure();
  Process program({"--config", config});
  ASSERT_TRUE(program.ReadUntil("serving")) << program.output();
  Configure("listne: 1\n");
  program.Signal(SIGHUP);
  ASSERT_TRUE(program.ReadUntil("nothing is reloaded")) << program.output();
  EXPECT_THAT(program.output(), HasSubstr("coordinator.yaml:12: listne"));
  program.Signal(SIGTERM);
  EXPECT_EQ(program.Wait(), 0) << program.output();
}

TEST_F(CoordinatorProgramTest, OutlivesCertificateFilesThatAreEmptyForAMoment) {
  const TlsFiles good = FilesFor("coordinator");
  for (const auto& [from, to] : {std::pair(good.ca, "ca"), std::pair(good.certificate, "crt"), std::pair(good.key, "key")}) {
    std::filesystem::copy_file(from, folder_.File(to));
  }
  const std::string path = folder_.File("coordinator.yaml");
  std::ofstream(path) << "federation: test\ndata_dir: data\nlisten: 127.0.0.1:0\nhealth_listen: 127.0.0.1:0\nmetrics_listen: ''\n"
                      << "sites: [berlin]\noperators: [alice]\ntls: {ca: ca, certificate: crt, key: key}\n";
  Process program({"--config", path});
  ASSERT_TRUE(program.ReadUntil("serving")) << program.output();
  for (const char* const name : {"crt", "key", "ca"}) {
    std::filesystem::resize_file(folder_.File(name), 0);
  }
  ASSERT_TRUE(program.ReadUntil("the certificate files are not good")) << program.output();
  for (const auto& [from, to] : {std::pair(good.ca, "ca"), std::pair(good.certificate, "crt"), std::pair(good.key, "key")}) {
    std::filesystem::copy_file(from, folder_.File(to), std::filesystem::copy_options::overwrite_existing);
  }
  ASSERT_TRUE(program.ReadUntil("the certificate files are good again")) << program.output();
  program.Signal(SIGTERM);
  EXPECT_EQ(program.Wait(), 0) << program.output();
}

TEST_F(CoordinatorProgramTest, SaysThatItWasInterruptedOnSigint) {
  Process program({"--config", Configure()});
  ASSERT_TRUE(program.ReadUntil("serving")) << program.output();
  program.Signal(SIGINT);
  EXPECT_EQ(program.Wait(), 130) << program.output();
}

TEST_F(CoordinatorProgramTest, StartsAgainAfterItWasKilled) {
  const std::string config = Configure();
  {
    Process program({"--config", config});
    ASSERT_TRUE(program.ReadUntil("serving")) << program.output();
    program.Signal(SIGKILL);
    EXPECT_EQ(program.Wait(), -SIGKILL);
  }
  Process program({"--config", config});
  EXPECT_TRUE(program.ReadUntil("serving")) << program.output();
  program.Signal(SIGTERM);
  EXPECT_EQ(program.Wait(), 0) << program.output();
}

TEST_F(CoordinatorProgramTest, ChecksItsConfigurationWithoutServing) {
  Process good({"--config", Configure(), "--check"});
  EXPECT_EQ(good.Wait(), 0) << good.output();
  EXPECT_FALSE(std::filesystem::exists(folder_.File("data")));
  Process bad({"--config", Configure("listne: 1\n"), "--check"});
  EXPECT_EQ(bad.Wait(), 2);
  EXPECT_THAT(bad.output(), HasSubstr("coordinator.yaml:12: listne"));
  EXPECT_THAT(bad.output(), HasSubstr("listen"));
}

TEST_F(CoordinatorProgramTest, RefusesCommandLinesItDoesNotUnderstand) {
  for (const std::vector<std::string>& arguments :
       std::vector<std::vector<std::string>>{{},
                                             {"--config"},
                                             {"--no-such-flag"},
                                             {"--config", folder_.File("none.yaml")},
                                             {"--config", Configure(), "--insecure-anywhere"}}) {
    Process program(arguments);
    const int code = program.Wait();
    EXPECT_TRUE(code == 2 || code == 7) << code << program.output();
  }
  Process version({"--version"});
  EXPECT_EQ(version.Wait(), 0);
  EXPECT_THAT(version.output(), HasSubstr(absl::StrCat("tributary-coordinator ", TRIBUTARY_VERSION)));
}

TEST_F(CoordinatorProgramTest, SaysInOneLineWhatIsWrong) {
  const std::string config = Configure();
  std::filesystem::create_directory(folder_.File("data"));
  std::ofstream(folder_.File("data/journal.db")) << "not a journal";
  Process program({"--config", config});
  EXPECT_EQ(program.Wait(), 8);
  EXPECT_THAT(program.output(), HasSubstr(folder_.File("data/journal.db")));
  EXPECT_EQ(std::count(program.output().begin(), program.output().end(), '\n'), 1) << program.output();
}

TEST_F(CoordinatorProgramTest, WarnsWhenItRunsWithoutTls) {
  const std::string path = folder_.File("coordinator.yaml");
  std::ofstream(path) << "federation: test\ndata_dir: data\nlisten: 127.0.0.1:0\nhealth_listen: 127.0.0.1:0\nmetrics_listen: ''\n"
                      << "sites: [berlin]\noperators: [alice]\n";
  Process without({"--config", path});
  EXPECT_EQ(without.Wait(), 2);
  Process program({"--config", path, "--insecure"});
  EXPECT_TRUE(program.ReadUntil("WARNING")) << program.output();
  program.Signal(SIGTERM);
  EXPECT_EQ(program.Wait(), 0);
}

}  // namespace
}  // namespace tributary::coordinator
