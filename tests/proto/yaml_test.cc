#include "proto/config/yaml.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "common/exit_codes.h"
#include "common/files.h"
#include "proto/config/rules.h"
#include "proto/wire_limits.h"
#include "tests/common/test_folder.h"
#include "tributary/v1/config.pb.h"
#include "tributary/v1/run.pb.h"

namespace tributary {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr char kRun[] = R"(name: bible
rounds: 200
model:
  gpt:
    layers: 2
data: {kind: text}
optimizer:
  mode: distro
  learning_rate:
    peak: 1e-3
)";

constexpr char kCoordinator[] = R"(federation: demo
data_dir: data
sites: [berlin, paris]
operators:
- ada
)";

v1::RunSpec MakeRun(absl::string_view text) {
  v1::RunSpec run;
  const absl::Status status = ParseYaml(text, "run.yaml", &run);
  EXPECT_TRUE(status.ok()) << status;
  return run;
}

TEST(YamlTest, ReadsWhatIsGiven) {
  const v1::RunSpec run = MakeRun(kRun);
  EXPECT_EQ(run.name(), "bible");
  EXPECT_EQ(run.rounds(), 200u);
  EXPECT_EQ(run.model().gpt().layers(), 2u);
  EXPECT_EQ(run.data().kind(), v1::DataSpec::TEXT);
  EXPECT_EQ(run.optimizer().mode(), v1::OptimizerSpec::DISTRO);
  EXPECT_EQ(run.optimizer().learning_rate().peak(), 1e-3);
}

TEST(YamlTest, FillsInDefaultsAlsoInMapsThatAreAbsent) {
  const v1::RunSpec run = MakeRun(kRun);
  EXPECT_EQ(run.seed(), 1u);
  EXPECT_EQ(run.model().gpt().width(), 128u);
  EXPECT_EQ(run.optimizer().learning_rate().kind(), v1::ScheduleSpec::COSINE);
  EXPECT_EQ(run.optimizer().adam_epsilon(), 1e-8);
  EXPECT_EQ(run.participation().quorum(), 0.5);
  EXPECT_EQ(run.participation().wait_timeout().seconds(), 600);
  EXPECT_EQ(run.evaluation().every(), 25u);
}

TEST(YamlTest, LeavesUnsetWhatHasNoDefault) {
  const v1::RunSpec run = MakeRun(kRun);
  EXPECT_FALSE(run.model().has_mlp());
  EXPECT_FALSE(run.optimizer().has_k());
  EXPECT_EQ(run.optimizer().domain(), v1::OptimizerSpec::DOMAIN_UNSPECIFIED);
  v1::CoordinatorConfig config;
  ASSERT_TRUE(ParseYaml(kCoordinator, "c.yaml", &config).ok());
  EXPECT_FALSE(config.has_tls());
}

TEST(YamlTest, ACompletedMessagePassesTheRules) {
  EXPECT_EQ(CheckRules(MakeRun(kRun)), absl::OkStatus());
}

TEST(YamlTest, AnEmptyMapMayBeLeftEmpty) {
  EXPECT_EQ(MakeRun(absl::StrReplaceAll(kRun, {{"    layers: 2\n", ""}})).model().gpt().layers(), 5u);
}

TEST(YamlTest, ReadsListsUnitsAndDurations) {
  v1::CoordinatorConfig config;
  ASSERT_TRUE(ParseYaml(absl::StrCat(kCoordinator, "max_inline: 64KiB\nmax_update: 1.5 GiB\nlease: 1m30s\ndrain_timeout: 250ms\n"),
                        "c.yaml", &config)
                  .ok());
  EXPECT_THAT(config.sites(), ElementsAre("berlin", "paris"));
  EXPECT_EQ(config.max_inline(), 65536u);
  EXPECT_EQ(config.max_update(), 1610612736u);
  EXPECT_EQ(config.lease().seconds(), 90);
  EXPECT_EQ(config.drain_timeout().nanos(), 250000000);
}

TEST(YamlTest, WholeNumbersMayBeWrittenInAnyExactForm) {
  EXPECT_EQ(MakeRun(absl::StrCat(kRun, "seed: 18446744073709551615\n")).seed(), 18446744073709551615u);
  EXPECT_EQ(MakeRun(absl::StrCat(kRun, "seed: 1e3\n")).seed(), 1000u);
  EXPECT_EQ(MakeRun(absl::StrCat(kRun, "seed: 4.0\n")).seed(), 4u);
  EXPECT_EQ(MakeRun(absl::StrCat(kRun, "seed: 0\n")).seed(), 0u);
}

TEST(YamlTest, PathsStartAtTheFolderOfTheFile) {
  const TestFolder directory;
  ASSERT_TRUE(MakeDirectories(directory.File("etc")).ok());
  const std::string file = directory.File("etc/coordinator.yaml");
  ASSERT_TRUE(WriteFileAtomically(file, absl::StrReplaceAll(kCoordinator, {{"data_dir: data", "data_dir: ../data"}}) +
                                            "tls: {ca: ca.crt, certificate: /abs/c.crt, key: c.key}\n")
                  .ok());
  v1::CoordinatorConfig config;
  const absl::Status status = LoadYaml(file, &config);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(config.data_dir(), directory.File("data"));
  EXPECT_EQ(config.tls().ca(), directory.File("etc/ca.crt"));
  EXPECT_EQ(config.tls().certificate(), "/abs/c.crt");
}

std::string ProblemOfDataDir(const std::string& path) {
  v1::CoordinatorConfig config;
  const absl::Status status = ParseYaml(absl::StrReplaceAll(kCoordinator, {{"data_dir: data", "data_dir: '" + path + "'"}}), "c", &config);
  EXPECT_EQ(ExitCodeOf(status), status.ok() ? ExitCode::kOk : ExitCode::kUsage);
  return std::string(status.message());
}

TEST(YamlTest, APathThatAShellWouldExpandIsRefused) {
  EXPECT_EQ(ProblemOfDataDir("~/x"),
            "c:2: data_dir: '~/x': ~ is not expanded here; write /home/NAME/x in full (or ./~/x for a folder of that name)");
  EXPECT_THAT(ProblemOfDataDir("~"), HasSubstr("write /home/NAME in full"));
  EXPECT_THAT(ProblemOfDataDir("~ada/x"), HasSubstr("write /home/ada/x in full"));
  EXPECT_THAT(ProblemOfDataDir("$HOME/x"), HasSubstr("variables are not expanded here; write the path in full (or ./$HOME/x"));
  EXPECT_THAT(ProblemOfDataDir("/srv/${SITE}/x"), HasSubstr("variables are not expanded here; write the path in full"));
}

TEST(YamlTest, AUrlIsNoPath) {
  EXPECT_THAT(ProblemOfDataDir("file:///srv/x"), HasSubstr("'file:///srv/x' is a URL; write /srv/x, without file://"));
}

TEST(YamlTest, AFolderMayHaveTheNameThatAShellWouldExpand) {
  EXPECT_EQ(ProblemOfDataDir("./~"), "");
  EXPECT_EQ(ProblemOfDataDir("./$x"), "");
  EXPECT_EQ(ProblemOfDataDir("/srv/a~b$c"), "");
}

TEST(YamlTest, APathIsCheckedInEveryKindOfFile) {
  v1::OperatorConfig person;
  EXPECT_THAT(
      std::string(ParseYaml("federation: demo\ncoordinator: a:1\ntls: {ca: ~/c, certificate: a, key: k}\n", "o", &person).message()),
      HasSubstr("tls.ca: '~/c'"));
  v1::WorkerConfig worker;
  EXPECT_THAT(std::string(ParseYaml("federation: demo\nsite: a\ncoordinator: a:1\ndata: d\nstate_dir: ~/s\n", "w", &worker).message()),
              HasSubstr("state_dir: '~/s'"));
}

TEST(YamlTest, AMissingFileIsAnErrorOfUsage) {
  v1::RunSpec run;
  const absl::Status status = LoadYaml("/nowhere/run.yaml", &run);
  EXPECT_EQ(ExitCodeOf(status), ExitCode::kUsage);
  EXPECT_EQ(status.message(), "cannot read /nowhere/run.yaml: No such file or directory; check the path");
}

struct ErrorCase {
  const char* from;  // what of kRun is replaced
  const char* to;
  const char* message;
};

class YamlErrorTest : public ::testing::TestWithParam<ErrorCase> {};

TEST_P(YamlErrorTest, SaysWhereAndWhat) {
  const ErrorCase& param = GetParam();
  const std::string text = absl::StrReplaceAll(kRun, {{param.from, param.to}});
  ASSERT_NE(text, kRun);
  v1::RunSpec run;
  const absl::Status status = ParseYaml(text, "run.yaml", &run);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ExitCodeOf(status), ExitCode::kUsage);
  EXPECT_EQ(status.message(), param.message);
}

const ErrorCase kErrors[] = {
    // keys
    {"rounds: 200", "round: 200", "run.yaml:2: round: unknown key; did you mean 'rounds'?"},
    {"rounds: 200", "xyz: 200",
     "run.yaml:2: xyz: unknown key; expected one of: name, seed, rounds, model, data, optimizer, participation, evaluation, pipeline, "
     "stop_when"},
    {"rounds: 200", "seed: 1", "run.yaml:1: rounds: is missing; expected a whole number"},
    {"    peak: 1e-3", "    kind: linear", "run.yaml:9: optimizer.learning_rate.peak: is missing; expected a number"},
    {"  mode: distro\n", "",
     "run.yaml:7: optimizer.mode: is missing; expected one of allreduce, demo, distro, local, fedavg, diloco, signsgd"},
    {"rounds: 200", "rounds: 200\nrounds: 300", "run.yaml:3: rounds: given twice (first in line 2)"},
    {"  gpt:\n", "  mlp: {inputs: 2, outputs: 2}\n  gpt:\n",
     "run.yaml:5: model.gpt: only one of gpt, mlp, custom, llama, convnet, ddpm may be given, and 'mlp' already is"},
    {"  gpt:\n    layers: 2\n", "  initial_weights: w\n", "run.yaml:3: model: needs one of: gpt, mlp, custom, llama, convnet, ddpm"},
    {"rounds: 200", "[1]: 2", "run.yaml:2: expected a key, found a list"},
    // kinds of values
    {"rounds: 200", "rounds:", "run.yaml:2: rounds: expected a whole number, found nothing"},
    {"rounds: 200", "rounds: ~", "run.yaml:2: rounds: expected a whole number, found nothing"},
    {"rounds: 200", "rounds: [200]", "run.yaml:2: rounds: expected a whole number, found a list"},
    {"rounds: 200", "rounds: {n: 2}", "run.yaml:2: rounds: expected a whole number, found a map"},
    {"rounds: 200", "rounds: many", "run.yaml:2: rounds: expected a whole number, found 'many'"},
    {"rounds: 200", "rounds: \"200\"", "run.yaml:2: rounds: expected a whole number, found the text '200' (remove the quotes)"},
    {"rounds: 200", "rounds: !!int 200", "run.yaml:2: rounds: the tag tag:yaml.org,2002:int is not supported; remove it"},
    {"data: {kind: text}", "data: text",
     "run.yaml:6: data: expected a map with keys kind, batch_size, validation_fraction, label_column, columns, label, standardise, "
     "token_bytes, classes, found 'text'"},
    {"    layers: 2\n", "    layers: 2\n  mlp2: 3\n", "run.yaml:6: model.mlp2: unknown key; did you mean 'mlp'?"},
    {"name: bible", "name: [bible]", "run.yaml:1: name: expected text, found a list"},
    // numbers
    {"rounds: 200", "rounds: 0200", "run.yaml:2: rounds: '0200' has a leading zero; remove it"},
    {"rounds: 200", "rounds: 0x20", "run.yaml:2: rounds: expected a whole number, found '0x20'"},
    {"rounds: 200", "rounds: 2_000", "run.yaml:2: rounds: expected a whole number, found '2_000'"},
    {"rounds: 200", "rounds: 1.5", "run.yaml:2: rounds: expected a whole number, found '1.5'"},
    {"rounds: 200", "rounds: 1e30", "run.yaml:2: rounds: expected a whole number, found '1e30'"},
    {"rounds: 200", "rounds: -5", "run.yaml:2: rounds: '-5' is negative"},
    {"rounds: 200", "rounds: 0", "run.yaml:2: rounds: 0 is less than 1"},
    {"rounds: 200", "rounds: 100000001", "run.yaml:2: rounds: 100000001 is more than 100000000"},
    {"layers: 2", "layers: 4294967297", "run.yaml:5: model.gpt.layers: '4294967297' is too large"},
    {"peak: 1e-3", "peak: .nan", "run.yaml:10: optimizer.learning_rate.peak: expected a number, found '.nan'"},
    {"peak: 1e-3", "peak: .inf", "run.yaml:10: optimizer.learning_rate.peak: expected a number, found '.inf'"},
    {"peak: 1e-3", "peak: nan", "run.yaml:10: optimizer.learning_rate.peak: expected a number, found 'nan'"},
    {"peak: 1e-3", "peak: 1e999", "run.yaml:10: optimizer.learning_rate.peak: '1e999' is too large or too small for a number"},
    {"peak: 1e-3", "peak: 1e-999", "run.yaml:10: optimizer.learning_rate.peak: '1e-999' is too large or too small for a number"},
    {"peak: 1e-3", "peak: -1", "run.yaml:10: optimizer.learning_rate.peak: -1 is less than 1e-12"},
    {"  mode: distro", "  mode: distro\n  k: 5000", "run.yaml:9: optimizer.k: 5000 is more than 4096"},
    {"  mode: distro", "  mode: distro\n  normalize: yes", "run.yaml:9: optimizer.normalize: expected true or false, found 'yes'"},
    {"  mode: distro", "  mode: local\n  local_steps: 0", "run.yaml:9: optimizer.local_steps: expected a whole number, or auto, found '0'"},
    {"  mode: distro", "  mode: local\n  local_steps: \"auto\"",
     "run.yaml:9: optimizer.local_steps: expected a whole number, or auto, found the text 'auto' (remove the quotes)"},
    // words
    {"mode: distro", "mode: distra", "run.yaml:8: optimizer.mode: unknown value 'distra'; did you mean 'distro'?"},
    {"mode: distro", "mode: DISTRO",
     "run.yaml:8: optimizer.mode: unknown value 'DISTRO'; expected one of: allreduce, demo, distro, local, fedavg, diloco, signsgd"},
    {"mode: distro", "mode: mode_unspecified",
     "run.yaml:8: optimizer.mode: unknown value 'mode_unspecified'; expected one of: allreduce, demo, distro, local, fedavg, diloco, "
     "signsgd"},
    {"name: bible", "name: The Bible", "run.yaml:1: name: 'The Bible' is not a name: use 1 to 63 characters of a-z, 0-9 and inner hyphens"},
    {"name: bible", "name: \"\"", "run.yaml:1: name: is empty"},
    {"data: {kind: text}", "data: {kind: csv, label_column: \"a\\nb\"}", "run.yaml:6: data.label_column: contains a control character"},
    // durations
    {"data: {kind: text}", "data: {kind: text}\nparticipation: {min_deadline: 30}",
     "run.yaml:7: participation.min_deadline: '30' has no unit; expected a duration with its unit, like 30s, 5m or 1h30m"},
    {"data: {kind: text}", "data: {kind: text}\nparticipation: {min_deadline: 0}",
     "run.yaml:7: participation.min_deadline: '0' has no unit; expected a duration with its unit, like 30s, 5m or 1h30m"},
    {"data: {kind: text}", "data: {kind: text}\nparticipation: {min_deadline: soon}",
     "run.yaml:7: participation.min_deadline: expected a duration with its unit, like 30s, 5m or 1h30m, found 'soon'"},
    {"data: {kind: text}", "data: {kind: text}\nparticipation: {min_deadline: -3s}",
     "run.yaml:7: participation.min_deadline: '-3s' is negative"},
    {"data: {kind: text}", "data: {kind: text}\nparticipation: {min_deadline: inf}",
     "run.yaml:7: participation.min_deadline: 'inf' is too long"},
    {"data: {kind: text}", "data: {kind: text}\nparticipation: {min_deadline: 25h}",
     "run.yaml:7: participation.min_deadline: 25h is more than 24h"},
    // not YAML, or not one document of keys
    {"name: bible", "name: [bible", "run.yaml:2: not valid YAML: end of sequence flow not found"},
    {"name: bible", "name: bible\n---", "run.yaml holds more than one document (separated by ---); one is expected"},
    {"name: bible", ",", "run.yaml holds more than one document (separated by ---); one is expected"},
};
INSTANTIATE_TEST_SUITE_P(Run, YamlErrorTest, ::testing::ValuesIn(kErrors));

std::string CoordinatorError(absl::string_view more, absl::string_view text = kCoordinator) {
  v1::CoordinatorConfig config;
  return std::string(ParseYaml(absl::StrCat(text, more), "c.yaml", &config).message());
}

TEST(YamlTest, ErrorsOfListsNameTheElement) {
  EXPECT_EQ(CoordinatorError("", absl::StrReplaceAll(kCoordinator, {{"paris", "Paris"}})),
            "c.yaml:3: sites[1]: 'Paris' is not a name: use 1 to 63 characters of a-z, 0-9 and inner hyphens");
  EXPECT_EQ(CoordinatorError("", absl::StrReplaceAll(kCoordinator, {{"paris", "berlin"}})), "c.yaml:3: sites: has 'berlin' twice");
  EXPECT_EQ(CoordinatorError("", absl::StrReplaceAll(kCoordinator, {{"[berlin, paris]", "[]"}})), "") << "they may be let in later";
  EXPECT_EQ(CoordinatorError("", absl::StrReplaceAll(kCoordinator, {{"[berlin, paris]", "berlin"}})),
            "c.yaml:3: sites: expected a list, each element text, found 'berlin'");
}

TEST(YamlTest, ErrorsOfSizesNameTheUnits) {
  EXPECT_EQ(CoordinatorError("max_inline: 65536\n"),
            "c.yaml:6: max_inline: '65536' has no unit; expected a size with its unit, like 10MiB, 64KiB or 1500B");
  EXPECT_EQ(CoordinatorError("max_inline: 64KB\n"),
            "c.yaml:6: max_inline: '64KB' has the unknown unit 'KB'; expected a size with its unit, like 10MiB, 64KiB or 1500B");
  EXPECT_EQ(CoordinatorError("max_inline: lots\n"),
            "c.yaml:6: max_inline: expected a size with its unit, like 10MiB, 64KiB or 1500B, found 'lots'");
  EXPECT_EQ(CoordinatorError("max_inline: 1500.5B\n"), "c.yaml:6: max_inline: '1500.5B' is not a whole number of B");
  EXPECT_EQ(CoordinatorError("max_inline: 10MiB\n"), "c.yaml:6: max_inline: 10MiB is more than 3MiB");
  EXPECT_EQ(CoordinatorError("lease: 100ms\n"), "c.yaml:6: lease: 100ms is less than 500ms");
}

TEST(YamlTest, MaxInlineIsAtMostWhatFitsAMessage) {
  EXPECT_EQ(CoordinatorError(absl::StrCat("max_inline: ", kMaxInlineBytes, "B\n")), "");
  EXPECT_NE(CoordinatorError(absl::StrCat("max_inline: ", kMaxInlineBytes + 1, "B\n")), "");
}

TEST(YamlTest, AnEmptyFileMissesItsFirstRequiredKey) {
  v1::RunSpec run;
  EXPECT_EQ(ParseYaml("", "run.yaml", &run).message(), "run.yaml:1: name: is missing; expected text");
  EXPECT_EQ(ParseYaml("just text", "run.yaml", &run).message(), "run.yaml:1: expected a map of keys, found 'just text'");
}

TEST(YamlTest, DeepNestingIsRefused) {
  v1::RunSpec run;
  EXPECT_EQ(ParseYaml(std::string(100000, '['), "run.yaml", &run).code(), absl::StatusCode::kInvalidArgument);
}

TEST(RulesTest, AMessageThatLeavesOutDefaultsIsRefused) {
  v1::RunSpec run = MakeRun(kRun);
  run.clear_participation();
  EXPECT_EQ(CheckRules(run).message(), "participation: is missing");
  run = MakeRun(kRun);
  run.mutable_participation()->clear_wait_timeout();
  EXPECT_EQ(CheckRules(run).message(), "participation.wait_timeout: is missing");
  run = MakeRun(kRun);
  run.mutable_data()->set_batch_size(0);
  EXPECT_EQ(CheckRules(run).message(), "data.batch_size: 0 is less than 1");
}

TEST(RulesTest, ValuesOutsideTheirRuleAreRefused) {
  v1::RunSpec run = MakeRun(kRun);
  run.set_name("../x");
  EXPECT_EQ(CheckRules(run).message(), "name: '../x' is not a name: use 1 to 63 characters of a-z, 0-9 and inner hyphens");
  run = MakeRun(kRun);
  run.mutable_optimizer()->set_clip_norm(std::numeric_limits<double>::quiet_NaN());
  EXPECT_EQ(CheckRules(run).message(), "optimizer.clip_norm: nan is not a finite number");
  run = MakeRun(kRun);
  run.mutable_optimizer()->set_mode(static_cast<v1::OptimizerSpec::Mode>(99));
  EXPECT_EQ(CheckRules(run).message(), "optimizer.mode: 99 is not a value of Mode");
  run = MakeRun(kRun);
  run.mutable_optimizer()->set_k(0);
  EXPECT_EQ(CheckRules(run).message(), "optimizer.k: 0 is less than 1");
  run = MakeRun(kRun);
  run.mutable_model()->clear_kind();
  EXPECT_EQ(CheckRules(run).message(), "model: needs one of: gpt, mlp, custom, llama, convnet, ddpm");
  run = MakeRun(kRun);
  run.mutable_participation()->mutable_min_deadline()->set_seconds(-1);
  EXPECT_EQ(CheckRules(run).message(), "participation.min_deadline: -1s is less than 1ms");
}

}  // namespace
}  // namespace tributary
