// Pages about runs: what is read, and what is drawn.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "absl/strings/str_cat.h"
#include "cli/report_page.h"
#include "common/chart.h"
#include "proto/run_curves.h"

namespace tributary::cli {
namespace {

using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;

const absl::Time kNow = absl::FromUnixSeconds(1'767'225'600);  // 2026-01-01

// Ten rounds of two sites and two local steps, evaluated at the start and at every fifth.
ReportedRun TestedRun(const std::string& name = "bible") {
  ReportedRun run;
  run.status.set_run_id(absl::StrCat(name, "-1"));
  run.status.mutable_spec()->set_name(name);
  run.status.mutable_spec()->set_seed(7);
  run.status.mutable_spec()->set_rounds(10);
  run.status.mutable_spec()->mutable_data()->set_kind(v1::DataSpec::TEXT);
  run.status.set_state(v1::FINISHED);
  run.status.set_round(10);
  run.status.set_parameters(1'032'576);
  run.status.set_state_hash("\x01\xab");
  run.status.set_submitted_unix_ms(absl::ToUnixMillis(kNow));
  for (int i = 0; i <= 10; ++i) {
    v1::RoundRecord& round = *run.history.add_rounds();
    round.set_round(i);
    if (i % 5 == 0) {
      round.set_val_loss(5 - 0.2 * i);
    }
    if (i == 0) {
      continue;
    }
    round.set_train_loss(5 - 0.3 * i);
    round.set_members(2);
    round.set_included(2);
    round.set_local_steps(2);
    round.set_bytes_up(4000);
    round.set_bytes_down(8000);
    round.set_dense_bytes_per_direction(600'000);
    round.set_duration(1.5);
    round.set_compute_seconds(1);
    round.set_wait_seconds(1.25);
  }
  v1::SiteStatus& site = *run.status.add_sites();
  site.set_site("berlin");
  site.set_round(10);
  site.set_state_hash("\x01\xab");
  return run;
}

TEST(CurveTest, CountsWhatOneSiteHasSpent) {
  const Curve curve = ValidationCurve(TestedRun());
  ASSERT_THAT(curve.points, SizeIs(3));
  EXPECT_EQ(curve.points[0].steps, 0);
  EXPECT_EQ(curve.points[2].steps, 20);
  EXPECT_EQ(curve.points[2].bytes, 60'000);
  EXPECT_EQ(curve.points[2].seconds, 15);
  EXPECT_EQ(curve.points[2].loss, 3);
}

TEST(CurveTest, LossesThatAreNoNumbersAreLeftOut) {
  ReportedRun run = TestedRun();
  run.history.mutable_rounds(5)->set_val_loss(std::numeric_limits<double>::quiet_NaN());
  EXPECT_THAT(ValidationCurve(run).points, SizeIs(2));
}

TEST(CurveTest, ThinningKeepsTheEnd) {
  const std::vector<CurvePoint> thinned = Thin(TrainingCurve(TestedRun()).points, 3);
  ASSERT_THAT(thinned, SizeIs(3));
  EXPECT_EQ(thinned.back().steps, 20);
  EXPECT_EQ(thinned.front().steps, 4);
}

TEST(CurveTest, IsReadFromAFile) {
  const absl::StatusOr<Curve> curve = ParseCurve("# name: AdamW\n# made so\nsteps\tbytes\tval_loss\n0\t0\t5.5\n25\t2e8\t2.9\n", "a.tsv");
  ASSERT_TRUE(curve.ok()) << curve.status();
  EXPECT_EQ(curve->name, "AdamW");
  ASSERT_THAT(curve->points, SizeIs(2));
  EXPECT_EQ(curve->points[1].bytes, 2e8);
}

TEST(CurveTest, AFileThatIsNoCurveIsRefusedWithItsLine) {
  for (const char* const text : {"0\t0\t5.5\n", "steps\tbytes\tval_loss\n1\t2\n", "steps\tbytes\tval_loss\n1\t2\tnan\n"}) {
    const absl::StatusOr<Curve> curve = ParseCurve(text, "a.tsv");
    EXPECT_EQ(curve.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(curve.status().message()), ContainsRegex("^a.tsv:[12]: "));
  }
}

TEST(FiguresTest, AreOfOneSiteAndStep) {
  const RunFigures figures = FiguresOf(TestedRun());
  EXPECT_EQ(figures.rounds, 10u);
  EXPECT_EQ(figures.steps, 20u);
  EXPECT_EQ(figures.up, 1000);
  EXPECT_EQ(figures.down, 2000);
  EXPECT_EQ(figures.reduction, 100);
  EXPECT_EQ(figures.seconds, 15);
  EXPECT_EQ(figures.first_val_loss, 5);
  EXPECT_EQ(figures.last_val_loss, 3);
}

TEST(ReadableTest, UsesTheUnitThatReadsBest) {
  EXPECT_EQ(ReadableBytes(999), "999 B");
  EXPECT_EQ(ReadableBytes(1'234'567), "1.23 MB");
  EXPECT_EQ(ReadableCount(1'032'576), "1,032,576");
  EXPECT_EQ(ReadableCount(999), "999");
  EXPECT_EQ(ReadableCount(0.25), "0.25");
  EXPECT_EQ(ReadableSeconds(0.0125), "12.5 ms");
  EXPECT_EQ(ReadableSeconds(125), "2 min 05 s");
}

TEST(ReportPageTest, TellsWhatWhenAndWithWhichSeed) {
  const std::string page = ReportPage(TestedRun(), {}, kNow);
  for (const char* const text :
       {"bible-1", "1,032,576 parameters", "seed 7", "submitted 2026-01-01", "Drawn 2026-01-01 00:00 UTC by Tributary", TRIBUTARY_VERSION,
        "100 ×", "berlin", "all 2 hashes equal", "width=device-width", "prefers-color-scheme:dark", "on data that no site trains on"}) {
    EXPECT_THAT(page, HasSubstr(text));
  }
}

TEST(ReportPageTest, DrawsTheMetricsAndSaysWhichRoundIsTheBestAndWhyItEnded) {
  ReportedRun run = TestedRun();
  run.status.mutable_spec()->mutable_evaluation()->add_metrics("auroc");
  for (int i = 0; i <= 10; i += 5) {
    v1::Metric& auroc = *run.history.mutable_rounds(i)->add_metrics();
    auroc.set_name("auroc");
    auroc.set_value(0.5 + 0.04 * i);
  }
  *run.status.mutable_metrics() = run.history.rounds(10).metrics();
  run.status.set_best_round(5);
  run.status.mutable_best()->set_name("loss");
  run.status.mutable_best()->set_value(4);
  run.status.mutable_spec()->set_rounds(20);
  run.status.set_reason("validation loss has not improved");
  const std::string page = ReportPage(run, {}, kNow);
  for (const char* const text : {"auroc by steps", "auroc, last", "0.9", "best round, by validation loss", "5 (4)", "has not improved"}) {
    EXPECT_THAT(page, HasSubstr(text));
  }
  EXPECT_EQ(MetricCurve(run, "auroc").points.size(), 3u);
  EXPECT_TRUE(MetricCurve(run, "f1").points.empty());
}

TEST(ReportPageTest, NeedsNothingFromElsewhere) {
  EXPECT_THAT(ReportPage(TestedRun(), {}, kNow), Not(ContainsRegex("src=|href=|url\\(|<script|https?:")));
  EXPECT_THAT(ComparisonPage({TestedRun(), TestedRun("table")}, kNow), Not(ContainsRegex("src=|href=|url\\(|<script|https?:")));
}

TEST(ReportPageTest, WhatComesFromOutsideIsText) {
  ReportedRun run = TestedRun();
  run.status.set_reason("<script>alert(1)</script>");
  run.status.set_state(v1::STOPPED);
  run.status.mutable_sites(0)->set_site("\"><img>");
  Beside beside;
  beside.levels.push_back({"<b>", 3});
  beside.sample = "</pre><script>";
  EXPECT_THAT(ReportPage(run, beside, kNow), Not(ContainsRegex("<script|<img|<b>:")));
}

TEST(ReportPageTest, ARunThatHasNotBegunHasAPageToo) {
  ReportedRun run;
  run.status.mutable_spec()->set_name("new");
  EXPECT_THAT(ReportPage(run, {}, kNow), HasSubstr("Nothing was measured yet."));
}

TEST(ReportPageTest, DrawsWhatIsPutBeside) {
  Beside beside;
  beside.levels.push_back({"one site alone", 4.25});
  beside.baseline = Curve{"AdamW, all-reduce", {{0, 0, 0, 5}, {20, 2e6, 0, 2.5}}};
  const std::string page = ReportPage(TestedRun(), beside, kNow);
  EXPECT_THAT(page, HasSubstr("<b>AdamW, all-reduce</b>"));
  EXPECT_THAT(page, HasSubstr("one site alone</b>: 4.250"));
}

TEST(ReportPageTest, AnImageIsPartOfThePage) {
  Beside beside;
  beside.image = "\x89PNG";
  EXPECT_THAT(ReportPage(TestedRun(), beside, kNow), HasSubstr("src=\"data:image/png;base64,iVBORw==\""));
}

TEST(ReportPageTest, ALossHasTheUnitOfItsModel) {
  ReportedRun run = TestedRun();
  run.status.mutable_spec()->mutable_data()->set_kind(v1::DataSpec::IMAGES);
  run.status.mutable_spec()->mutable_model()->mutable_convnet();
  EXPECT_THAT(ReportPage(run, {}, kNow), HasSubstr("nats per image"));
  run.status.mutable_spec()->mutable_model()->mutable_ddpm();
  EXPECT_THAT(ReportPage(run, {}, kNow), HasSubstr("mean squared error of a value&#39;s noise"));
}

TEST(ReportPageTest, HashesThatDifferAreSaid) {
  ReportedRun run = TestedRun();
  run.status.mutable_sites(0)->set_state_hash("\x02");
  EXPECT_THAT(ReportPage(run, {}, kNow), HasSubstr("the hashes differ"));
}

TEST(ComparisonPageTest, DrawsRunsByStepsBytesAndTime) {
  const std::string page = ComparisonPage({TestedRun(), TestedRun("table")}, kNow);
  for (const char* const text : {"2 runs compared", "By steps", "By bytes", "By time", "<b>bible</b>", "<b>table</b>", "Validation loss"}) {
    EXPECT_THAT(page, HasSubstr(text));
  }
}

TEST(ComparisonPageTest, RunsOfOneNameAreToldApartByTheirIds) {
  ReportedRun second = TestedRun();
  second.status.set_run_id("bible-2");
  const std::string page = ComparisonPage({TestedRun(), second}, kNow);
  EXPECT_THAT(page, HasSubstr("<b>bible-1</b>"));
  EXPECT_THAT(page, HasSubstr("<b>bible-2</b>"));
}

TEST(ComparisonPageTest, WithoutEvaluationsItDrawsTheTrainingLoss) {
  ReportedRun run = TestedRun();
  for (v1::RoundRecord& round : *run.history.mutable_rounds()) {
    round.clear_val_loss();
  }
  EXPECT_THAT(ComparisonPage({run, TestedRun("table")}, kNow), HasSubstr("Training loss"));
}

TEST(ChartTest, APointThatTheAxisCannotShowIsLeftOut) {
  Chart chart{.description = "d", .x = {"x", Scale::kLogarithmic, ReadableBytes}, .y = {}, .series = {}, .levels = {}, .most_y = 10};
  chart.series.push_back({{{0, 1}, {10, 2}, {1000, 1}}, "--a"});
  const std::string drawing = DrawChart(chart);
  EXPECT_THAT(drawing, Not(HasSubstr("nan")));
  EXPECT_THAT(drawing, Not(HasSubstr("inf")));
  chart.series = {{{{0, 1}}, "--a"}};
  EXPECT_EQ(DrawChart(chart), "");
}

TEST(ChartTest, TicksAreWithinTheChartAndZeroHasNoSign) {
  Chart chart{.description = "d",
              .x = {"x", Scale::kLinear, ReadableCount},
              .y = {"", Scale::kLogarithmic, ReadableBytes},
              .series = {},
              .levels = {},
              .most_y = 1e9};
  chart.series.push_back({{{0, 800}, {600, 1e6}}, "--a"});
  const std::string drawing = DrawChart(chart);
  EXPECT_THAT(drawing, HasSubstr(">0</text>"));
  EXPECT_THAT(drawing, HasSubstr(">1 kB</text>"));
  EXPECT_THAT(drawing, Not(HasSubstr(">100 B</text>")));
  EXPECT_THAT(drawing, Not(HasSubstr(">-0</text>")));
}

}  // namespace
}  // namespace tributary::cli
