#include "cli/output.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "cli/table.h"
#include "proto/config/run_options.h"
#include "proto/config/yaml.h"
#include "tributary/v1/run.pb.h"

namespace tributary::cli {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr size_t kWide = 1000;

v1::RoundRecord Round() {
  v1::RoundRecord round;
  round.set_round(12);
  round.set_members(4);
  round.set_included(3);
  round.set_local_steps(2);
  round.set_bytes_up(8192);
  round.set_bytes_down(8192);
  round.set_dense_bytes_per_direction(8192 * 100);
  round.set_train_loss(2.5);
  return round;
}

void AddMetric(const std::string& name, double value, google::protobuf::RepeatedPtrField<v1::Metric>* metrics) {
  v1::Metric& metric = *metrics->Add();
  metric.set_name(name);
  metric.set_value(value);
}

v1::RunStatus Status() {
  v1::RunStatus status;
  status.set_run_id("bible-1");
  status.mutable_spec()->set_name("bible");
  status.mutable_spec()->set_rounds(200);
  status.set_state(v1::RUNNING);
  status.set_round(12);
  status.set_state_hash("\x01\xab");
  status.set_train_loss(2.3142);
  *status.mutable_last_round() = Round();
  v1::SiteStatus* site = status.add_sites();
  site->set_site("berlin");
  site->set_connected(true);
  site->set_activity("training");
  return status;
}

TEST(JsonTest, KeepsFieldNamesAndWritesHashesInHexadecimal) {
  const std::string json = ToJson(Status());
  EXPECT_THAT(json, StartsWith(R"({"run_id":"bible-1","spec":{"name":"bible",)"));
  EXPECT_THAT(json, HasSubstr(R"("state":"running")"));
  EXPECT_THAT(json, HasSubstr(R"("state_hash":"01ab")"));
  EXPECT_THAT(json, HasSubstr(R"("round":12)"));
  EXPECT_THAT(json, Not(HasSubstr("\n")));
}

v1::RunStatus StatusOf(const std::string& optimizer) {
  v1::RunStatus status;
  const absl::Status parsed =
      ParseYaml(absl::StrCat("name: r\nrounds: 10\nmodel: {gpt: {}}\ndata: {kind: text}\noptimizer: {learning_rate: {peak: 1e-3}, ",
                             optimizer, "}\n"),
                "run.yaml", status.mutable_spec());
  EXPECT_TRUE(parsed.ok()) << parsed;
  status.set_state(v1::RUNNING);
  return status;
}

TEST(JsonTest, ShowsTheSettingsInForce) {
  const std::string json = ToJson(StatusOf("mode: distro"));
  EXPECT_THAT(json, HasSubstr(R"("beta":0.999,"k":32,"value_bits":1,"domain":"dct","normalize":true,"commit_k":32,"weighting":"uniform")"));
  EXPECT_THAT(json, Not(HasSubstr("unspecified")));
  EXPECT_THAT(json, Not(HasSubstr("budget")));
  EXPECT_THAT(json, Not(HasSubstr("adam")));
  EXPECT_THAT(ToJson(StatusOf("mode: allreduce")), HasSubstr(R"("weight_decay":0.1,"adam_beta1":0.9)"));
  EXPECT_THAT(ToJson(StatusOf("mode: distro, budget: 20KiB")), HasSubstr(R"("budget":20480)"));
}

TEST(JsonTest, TakesTheCoordinatorsWordForWhatIsInForce) {
  v1::ListRunsResponse runs;
  v1::RunStatus& status = *runs.add_runs() = StatusOf("mode: distro");
  *status.mutable_optimizer_in_force() = status.spec().optimizer();
  status.mutable_optimizer_in_force()->set_k(77);
  EXPECT_THAT(ToJson(runs), HasSubstr(R"("k":77)"));
  EXPECT_THAT(ToJson(runs), Not(HasSubstr("optimizer_in_force")));
}

TEST(StatusTest, ShowsTheSettingsInForce) {
  EXPECT_THAT(
      FormatStatus(StatusOf("mode: distro"), std::numeric_limits<size_t>::max()),
      HasSubstr("peak learning rate 0.001 (cosine), clip norm 1.0, weight decay 0.0, beta 0.999, value bits 1, domain dct, normalize "
                "true, commit k 32, weighting uniform, aggregation mean\n"));
}

TEST(StatusTest, ShowsHowManyRoundsTheScheduleCoversAndWhichSitesARunHas) {
  v1::RunStatus status = StatusOf("mode: distro");
  const size_t wide = std::numeric_limits<size_t>::max();
  EXPECT_THAT(FormatStatus(status, wide), Not(HasSubstr("its sites")));
  status.mutable_spec()->mutable_optimizer()->mutable_learning_rate()->set_rounds(30);
  for (const char* const site : {"berlin", "oslo", "paris", "rome"}) {
    status.mutable_spec()->mutable_participation()->add_sites(site);
  }
  EXPECT_THAT(FormatStatus(status, wide), HasSubstr("peak learning rate 0.001 (cosine over 30 rounds)"));
  EXPECT_THAT(FormatStatus(status, wide), HasSubstr("berlin, oslo, paris, rome\n"));
  EXPECT_EQ(FormatSites(status.spec(), 3), "berlin, oslo and 2 more");
  EXPECT_EQ(FormatSites(v1::RunSpec(), 3), "all");
}

TEST(JsonTest, LeavesOutWhatIsAbsent) {
  EXPECT_THAT(ToJson(Status()), Not(HasSubstr("val_loss")));
}

TEST(JsonTest, DurationsAreSeconds) {
  v1::ParticipationSpec spec;
  spec.mutable_min_deadline()->set_seconds(1);
  spec.mutable_min_deadline()->set_nanos(500000000);
  EXPECT_THAT(ToJson(spec), HasSubstr(R"("min_deadline":1.5)"));
}

TEST(JsonTest, NumbersThatJsonCannotHoldAreLeftOut) {
  v1::RoundRecord round;
  round.set_train_loss(std::numeric_limits<double>::quiet_NaN());
  EXPECT_THAT(ToJson(round), Not(HasSubstr("train_loss")));
  EXPECT_THAT(ToJson(round), Not(HasSubstr("null")));
}

TEST(JsonTest, ControlCharactersAreEscaped) {
  v1::RunStatus status;
  status.set_reason("a\nb\x1b");
  EXPECT_THAT(ToJson(status), HasSubstr(R"("reason":"a\nb\u001b")"));
}

TEST(StepBytesTest, AreOfOneWorkerAndOneLocalStep) {
  const StepBytes bytes = StepBytesOf(Round());
  EXPECT_EQ(bytes.up, 1024);
  EXPECT_EQ(bytes.down, 1024);
  EXPECT_EQ(bytes.dense_per_direction, 102400);
  EXPECT_EQ(bytes.reduction, 100);
  EXPECT_EQ(StepBytesOf(v1::RoundRecord()).reduction, 0);
}

TEST(StatusLineTest, SaysWhereTheRunStands) {
  EXPECT_EQ(FormatStatusLine(Status(), 200),
            "bible  running  round 12/200  loss 2.314  sites 1  up 1.00 KiB  down 1.00 KiB per step  100x less");
  v1::RunStatus waiting = Status();
  waiting.clear_last_round();
  waiting.clear_train_loss();
  waiting.set_state(v1::WAITING);
  waiting.set_reason("1 of 2 workers");
  EXPECT_EQ(FormatStatusLine(waiting, 79), "bible  waiting  round 12/200  sites 1  (1 of 2 workers)");
}

TEST(StatusLineTest, FitsIntoTheTerminal) {
  EXPECT_EQ(FormatStatusLine(Status(), 79), "bible  running  round 12/200  loss 2.314  sites 1  100x less");
  EXPECT_EQ(FormatStatusLine(Status(), 59), "bible  running  round 12/200  loss 2.314  sites 1");
  EXPECT_EQ(FormatStatusLine(Status(), 40), "bible  running  round 12/200  loss 2.314");
  v1::RunStatus waiting = Status();
  waiting.set_state(v1::WAITING);
  waiting.set_reason("1 of 2 workers f\xc3\xbcr Z\xc3\xbcrich are ready; the run fails at 12:34");
  EXPECT_EQ(FormatStatusLine(waiting, 50), "bible  waiting  round 12/200  (1 of 2 workers f...");
  for (size_t columns = 0; columns < 120; ++columns) {
    EXPECT_LE(WidthOf(FormatStatusLine(waiting, columns)), std::max<size_t>(columns, 3));
  }
}

TEST(StatusLineTest, KeepsTheLossLongest) {
  v1::RunStatus status = Status();
  status.set_val_loss(2.4);
  EXPECT_EQ(FormatStatusLine(status, 52), "bible  running  round 12/200  loss 2.314  val 2.400");
  EXPECT_EQ(FormatStatusLine(status, 40), "bible  running  round 12/200  val 2.400");
  status.mutable_spec()->set_name("a-name-that-fills-the-line");
  EXPECT_EQ(FormatStatusLine(status, 45), "a-name-t...  running  round 12/200  val 2.400");
}

TEST(OutcomeTest, TellsTheSavingOfTheWholeRun) {
  v1::RunStatus status = Status();
  status.set_state(v1::FINISHED);
  status.set_bytes_up_total(8192);
  status.set_bytes_down_total(24576);
  v1::RunHistory history;
  *history.add_rounds() = Round();
  *history.add_rounds() = Round();
  EXPECT_EQ(FormatOutcome(status, history),
            "bible finished at round 12 of 200; 8.00 KiB up and 24.00 KiB down, 100x less than dense gradients");
  status.set_bytes_up_total(uint64_t{3} << 20);
  EXPECT_THAT(FormatOutcome(status, history), Not(HasSubstr("less")));
  status.set_bytes_up_total(8192);
  EXPECT_EQ(FormatOutcome(status, v1::RunHistory()), "bible finished at round 12 of 200; 8.00 KiB up and 24.00 KiB down");
}

TEST(StatusTest, ListsTheSites) {
  const std::string text = FormatStatus(Status(), kWide);
  EXPECT_THAT(text, HasSubstr("bible (bible-1)"));
  EXPECT_THAT(text, HasSubstr("berlin  yes        training"));
}

TEST(StatusTest, FitsIntoTheTerminal) {
  v1::RunStatus status = Status();
  status.set_reason("1 of 2 sites are ready; the run fails at 12:34 unless another one connects before");
  for (const size_t columns : {60, 80}) {
    const std::string text = FormatStatus(status, columns);
    EXPECT_THAT(text, HasSubstr("before"));
    for (const absl::string_view line : absl::StrSplit(text, '\n')) {
      EXPECT_LE(WidthOf(line), columns);
    }
  }
}

TEST(StatusTest, SaysWhatTheBudgetHasChosen) {
  v1::RunStatus status;
  ASSERT_TRUE(ParseYaml("name: r\nrounds: 10\nmodel: {gpt: {}}\ndata: {kind: text}\n"
                        "optimizer: {mode: local, budget: 2KiB, learning_rate: {peak: 1e-3}}",
                        "run.yaml", status.mutable_spec())
                  .ok());
  const auto options = OptimizerOptionsOf(status.spec()).value();
  EXPECT_THAT(FormatStatus(status, kWide),
              HasSubstr(absl::StrCat("2.00 KiB a step: k ", options.k, ", local steps ", options.local_steps, ", at most 1")));
  EXPECT_THAT(FormatStatus(Status(), kWide), Not(HasSubstr("a step:")));
  EXPECT_THAT(FormatStatus(status, kWide),
              HasSubstr(absl::StrCat("local, k ", options.k, " of 4096, local steps ", options.local_steps, ", pipeline 0")));
}

TEST(StatusTest, SaysThatSitesCountTheirSteps) {
  v1::RunStatus status;
  ASSERT_TRUE(ParseYaml("name: r\nrounds: 10\nmodel: {gpt: {}}\ndata: {kind: text}\n"
                        "optimizer: {mode: fedavg, local_steps: auto, local_time: 90s, learning_rate: {peak: 1e-3}}",
                        "run.yaml", status.mutable_spec())
                  .ok());
  EXPECT_THAT(FormatStatus(status, kWide), HasSubstr("fedavg, as many local steps as fit into 1m30s, pipeline 0"));
  EXPECT_THAT(FormatStatus(status, kWide), Not(HasSubstr("local time")));
  EXPECT_THAT(ToJson(status), AllOf(HasSubstr("\"local_steps\":\"auto\","), HasSubstr("\"local_time\":90.0")));
}

TEST(HistoryCsvTest, HasAColumnForEveryField) {
  v1::RunHistory history;
  *history.add_rounds() = Round();
  const std::string csv = FormatHistoryCsv(v1::RunSpec(), history);
  EXPECT_THAT(csv, StartsWith("round,members,included,stragglers,train_loss,val_loss,bytes_up,bytes_down,"));
  EXPECT_THAT(csv, HasSubstr("\n12,4,3,0,2.5,,8192,8192,819200,"));
}

// A run that asks for two metrics, of which the sites have reported one.
v1::RunStatus JudgedStatus() {
  v1::RunStatus status = Status();
  status.mutable_spec()->mutable_evaluation()->add_metrics("accuracy");
  status.mutable_spec()->mutable_evaluation()->add_metrics("auroc");
  status.set_val_loss(2.4);
  AddMetric("accuracy", 0.9375, status.mutable_metrics());
  status.set_best_round(10);
  status.mutable_best()->set_name("accuracy");
  status.mutable_best()->set_value(0.95);
  status.mutable_sites(0)->set_val_loss(2.5);
  AddMetric("accuracy", 0.875, status.mutable_sites(0)->mutable_metrics());
  return status;
}

TEST(MetricsTest, AreAColumnEachInCsv) {
  v1::RunHistory history;
  *history.add_rounds() = Round();
  AddMetric("accuracy", 0.9375, history.mutable_rounds(0)->mutable_metrics());
  const std::string csv = FormatHistoryCsv(JudgedStatus().spec(), history);
  EXPECT_THAT(csv, HasSubstr(",accuracy,auroc\n"));
  EXPECT_THAT(csv, EndsWith(",0.9375,\n"));
}

TEST(MetricsTest, AreAnObjectInJson) {
  EXPECT_THAT(ToJson(JudgedStatus()), HasSubstr(R"("metrics":{"accuracy":0.9375})"));
  EXPECT_THAT(ToJson(JudgedStatus()), HasSubstr(R"("best_round":10,"best":{"name":"accuracy","value":0.95})"));
}

TEST(MetricsTest, AreInTheStatusOverAllAndOfEachSiteThatSharesThem) {
  const std::string text = FormatStatus(JudgedStatus(), kWide);
  EXPECT_THAT(text, HasSubstr("loss 2.314  val 2.400  accuracy 0.9375\n"));
  EXPECT_THAT(text, HasSubstr("round 10: accuracy 0.95\n"));
  EXPECT_THAT(text, HasSubstr("VAL     ACCURACY  AUROC\n"));
  EXPECT_THAT(text, HasSubstr("2.5000  0.875     -\n"));
  EXPECT_THAT(FormatStatus(Status(), kWide), Not(HasSubstr("VAL")));
  EXPECT_THAT(FormatStatusLine(JudgedStatus(), 200), HasSubstr("val 2.400  accuracy 0.9375  sites"));
}

}  // namespace
}  // namespace tributary::cli
