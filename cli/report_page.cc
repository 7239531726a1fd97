#include "cli/report_page.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cli/output.h"
#include "common/chart.h"
#include "common/html_page.h"
#include "proto/config/run_options.h"

namespace tributary::cli {
namespace {

constexpr const char* kColours[kMostRunsCompared] = {"--a", "--b", "--c", "--d", "--e", "--f", "--g", "--h"};
constexpr char kSoft[] = "--soft";
// Enough for a curve of this width, and the page stays small.
constexpr size_t kCurvePoints = 400;
constexpr size_t kSmoothPoints = 60;
// The untrained model's first steps would flatten everything that matters.
constexpr double kFirstSteps = 0.05;

std::string Loss(double loss) {
  return absl::StrFormat("%.3f", loss);
}

std::string Loss(const std::optional<double>& loss) {
  return loss.has_value() ? Loss(*loss) : "-";
}

std::string Less(double reduction) {
  return reduction > 0 ? absl::StrCat(ReadableCount(reduction), " ×") : "-";
}

std::string LossUnit(const v1::RunSpec& spec) {
  if (spec.model().has_ddpm()) {
    return "mean squared error of a value's noise";
  }
  switch (spec.data().kind()) {
    case v1::DataSpec::TEXT:
      return "nats per byte";
    case v1::DataSpec::IMAGES:
      return "nats per image";
    default:
      return "nats per row";
  }
}

enum class By { kSteps, kBytes, kSeconds };

std::vector<std::pair<double, double>> PointsOf(const std::vector<CurvePoint>& curve, By by) {
  std::vector<std::pair<double, double>> points;
  for (const CurvePoint& point : curve) {
    points.emplace_back(by == By::kSteps ? point.steps : by == By::kBytes ? point.bytes : point.seconds, point.loss);
  }
  return points;
}

// The most that a chart of these curves shows: what they were after the first steps, and `levels`.
double MostLoss(const std::vector<Curve>& curves, const std::vector<Beside::NamedLoss>& levels) {
  double most = 0;
  for (const Curve& curve : curves) {
    const double begin = curve.points.empty() ? 0 : kFirstSteps * curve.points.back().steps;
    double seen = 0;
    for (const CurvePoint& point : curve.points) {
      if (point.steps >= begin || point.loss == curve.points.back().loss) {
        seen = std::max(seen, point.loss);
      }
    }
    most = std::max(most, seen);
  }
  for (const Beside::NamedLoss& level : levels) {
    most = std::max(most, level.loss * 1.1);
  }
  return most > 0 ? most : std::numeric_limits<double>::infinity();
}

Axis LossAxis() {
  return {"", Scale::kLinear, [](double value) { return absl::StrFormat("%.3g", value); }};
}

// Curves of one run by steps or bytes, with what is put beside them.
std::string LossFigure(const ReportedRun& run, const Beside& beside, By by) {
  const Curve training = TrainingCurve(run), validation = ValidationCurve(run);
  Chart chart;
  chart.y = LossAxis();
  std::vector<LegendEntry> legend;
  const std::string unit = LossUnit(run.status.spec());
  if (by == By::kSteps) {
    chart.description = "loss by local steps";
    chart.x = {"local steps of each site", Scale::kLinear, ReadableCount};
    chart.series.push_back({PointsOf(Thin(training.points, kCurvePoints), by), "--a", 1, 0.3, false});
    chart.series.push_back({PointsOf(Thin(training.points, kSmoothPoints), by), "--a", 2, 1, false});
    legend.push_back({"--a", "training", "on the batches that were trained on, just before; faint: as it came, strong: smoothed", false});
  } else {
    chart.description = "validation loss by bytes";
    chart.x = {"bytes moved by one site, both ways (logarithmic)", Scale::kLogarithmic, ReadableBytes};
  }
  chart.series.push_back({PointsOf(Thin(validation.points, kCurvePoints), by), "--b", 2.5, 1, validation.points.size() <= 50});
  legend.push_back({"--b", "validation", "on data that no site trains on", false});
  std::vector<Curve> curves = {training, validation};
  if (beside.baseline.has_value()) {
    chart.series.push_back({PointsOf(beside.baseline->points, by), kSoft, 2, 1, false});
    legend.push_back({kSoft, beside.baseline->name, "validation loss of another run, for comparison", false});
    curves.push_back(*beside.baseline);
  }
  if (by == By::kSteps) {
    for (size_t i = 0; i < beside.levels.size(); ++i) {
      const std::string colour = i == 0 ? "--d" : i == 1 ? "--c" : "--e";
      chart.levels.push_back({beside.levels[i].loss, colour});
      legend.push_back({colour, beside.levels[i].name, Loss(beside.levels[i].loss), true});
    }
  }
  chart.most_y = MostLoss(curves, by == By::kSteps ? beside.levels : std::vector<Beside::NamedLoss>());
  return Figure(by == By::kSteps ? "Loss by steps" : "Loss by bytes",
                by == By::kSteps ? absl::StrCat("Mean over the sites, ", unit, "; the lower the better.")
                                 : "Validation loss against all that one site had sent and received by then.",
                chart, legend);
}

// A metric of the run by steps.
std::string MetricFigure(const ReportedRun& run, const std::string& metric) {
  const Curve curve = MetricCurve(run, metric);
  if (curve.points.empty()) {
    return "";
  }
  Chart chart;
  chart.description = absl::StrCat(metric, " by local steps");
  chart.x = {"local steps of each site", Scale::kLinear, ReadableCount};
  chart.y = LossAxis();
  chart.most_y = MostLoss({curve}, {});
  chart.series = {{PointsOf(Thin(curve.points, kCurvePoints), By::kSteps), "--b", 2.5, 1, curve.points.size() <= 50}};
  return Figure(absl::StrCat(metric, " by steps"), "On data that no site trains on, mean over the sites.", chart, {});
}

std::string BytesFigure(const ReportedRun& run, const RunFigures& figures) {
  Chart chart;
  chart.description = "bytes of one site and local step, by round";
  chart.x = {"round", Scale::kLinear, ReadableCount};
  chart.y = {"", Scale::kLogarithmic, ReadableBytes};
  chart.most_y = std::numeric_limits<double>::infinity();
  Series up{{}, "--a", 1.75}, down{{}, "--c", 1.75};
  const auto& rounds = run.history.rounds();
  const int every = std::max<int>(1, rounds.size() / static_cast<int>(kCurvePoints));
  for (int i = 0; i < rounds.size(); i += every) {
    const StepBytes bytes = StepBytesOf(rounds[i]);
    up.points.emplace_back(rounds[i].round(), bytes.up);
    down.points.emplace_back(rounds[i].round(), bytes.down);
  }
  chart.series = {std::move(up), std::move(down)};
  chart.levels = {{figures.dense / 2, kSoft}};
  return Figure("Bytes of a step", "One site, each local step, every message with its framing (logarithmic).", chart,
                {{"--a", "up", "from the site to the coordinator", false},
                 {"--c", "down", "from the coordinator to the site", false},
                 {kSoft, "dense", "what gradients of 4 bytes a parameter would take each way", true}});
}

std::string PhasesCard(const RunFigures& figures) {
  static constexpr const char* kMeanings[] = {
      "forward and backward passes and local steps, mean over the sites", "turning a gradient into an update",
      "from then to the last update: slower sites and the network", "aggregating, journaling and applying at the coordinator"};
  double total = 0;
  for (const auto& phase : figures.phases) {
    total += phase.second;
  }
  if (total <= 0) {
    return "";
  }
  std::string bar = "<div class=\"bar\">";
  std::vector<LegendEntry> legend;
  for (size_t i = 0; i < figures.phases.size(); ++i) {
    const auto& [name, seconds] = figures.phases[i];
    absl::StrAppendFormat(&bar, R"x(<span style="flex:%.4f;background:var(%s)"></span>)x", seconds / total, kColours[i]);
    legend.push_back(
        {kColours[i], absl::StrFormat("%s %s (%.0f %%)", name, ReadableSeconds(seconds), 100 * seconds / total), kMeanings[i], false});
  }
  return absl::StrCat("<section class=\"card\"><h2>Where a round's time goes</h2><p class=\"soft\">Means over all rounds.</p>", bar,
                      "</div>", Legend(legend), "</section>\n");
}

std::string SitesCard(const v1::RunStatus& status) {
  if (status.sites().empty()) {
    return "";
  }
  std::vector<std::vector<std::string>> rows;
  for (const v1::SiteStatus& site : status.sites()) {
    rows.push_back({site.site(), ReadableCount(static_cast<double>(site.updates_included())),
                    ReadableCount(static_cast<double>(site.updates_late())), ReadableCount(static_cast<double>(site.updates_rejected())),
                    ReadableCount(static_cast<double>(site.rounds_missed())), ReadableBytes(static_cast<double>(site.bytes_up())),
                    ReadableBytes(static_cast<double>(site.bytes_down()))});
  }
  return absl::StrCat("<section class=\"card wide\"><h2>Sites</h2>",
                      HtmlTable({"site", "included", "late", "rejected", "missed", "up", "down"}, rows), "</section>\n");
}

// What each site last reported, against the coordinator; a site that is behind is not compared.
std::string HashesCard(const v1::RunStatus& status) {
  if (status.state_hash().empty()) {
    return "";
  }
  std::string rows = absl::StrCat("<tr><td>coordinator</td><td><code>", absl::BytesToHexString(status.state_hash()), "</code></td></tr>");
  size_t compared = 1, different = 0;
  for (const v1::SiteStatus& site : status.sites()) {
    if (site.state_hash().empty() || site.round() != status.round()) {
      continue;
    }
    ++compared;
    different += site.state_hash() == status.state_hash() ? 0 : 1;
    absl::StrAppend(&rows, "<tr><td>", EscapeHtml(site.site()), "</td><td><code>", absl::BytesToHexString(site.state_hash()),
                    "</code></td></tr>");
  }
  return absl::StrCat("<section class=\"card\"><h2>State hash after round ", status.round(), "</h2><p class=\"",
                      different == 0 ? "good" : "bad", "\">",
                      different > 0   ? "the hashes differ"
                      : compared == 1 ? "no site's hash of this round is known"
                                      : absl::StrCat("all ", compared, " hashes equal: the same model everywhere, bit by bit"),
                      "</p><table>", rows, "</table></section>\n");
}

std::string Header(const ReportedRun& run, absl::Time now) {
  const v1::RunStatus& status = run.status;
  std::string lead = absl::StrCat(FormatState(status.state()), " at round ", status.round(), " of ", status.spec().rounds());
  const bool whole = status.state() == v1::FINISHED && status.round() == status.spec().rounds();
  if (!whole && !status.reason().empty()) {
    absl::StrAppend(&lead, ": ", status.reason());
  }
  absl::StrAppend(&lead, ". ",
                  status.parameters() == 0 ? "" : absl::StrCat(ReadableCount(static_cast<double>(status.parameters())), " parameters, "),
                  FormatMethod(status.spec()), "; ", status.sites_size(), status.sites_size() == 1 ? " site" : " sites", ", seed ",
                  status.spec().seed(), ".");
  return absl::StrCat("<h1>", EscapeHtml(status.spec().name()), "</h1>\n<p>", EscapeHtml(lead), "</p>\n<p class=\"soft\">Run ",
                      EscapeHtml(status.run_id()), ", submitted ", ReadableDate(status.submitted_unix_ms()),
                      status.finished_unix_ms() == 0 ? "" : absl::StrCat(", ended ", ReadableDate(status.finished_unix_ms())), ". Drawn ",
                      ReadableDate(now), " by Tributary ", TRIBUTARY_VERSION, ".</p>\n");
}

}  // namespace

std::string ReportPage(const ReportedRun& run, const Beside& beside, absl::Time now) {
  const RunFigures figures = FiguresOf(run);
  std::string tiles;
  if (figures.reduction > 0) {
    absl::StrAppend(&tiles, Tile(Less(figures.reduction), "fewer bytes than dense gradients, both ways together"),
                    Tile(ReadableBytes(figures.up + figures.down),
                         absl::StrCat("moved by each site in a step, instead of ", ReadableBytes(figures.dense))));
  }
  if (figures.last_val_loss.has_value()) {
    absl::StrAppend(&tiles, Tile(Loss(figures.last_val_loss), absl::StrCat("validation loss, from ", Loss(figures.first_val_loss), " (",
                                                                           LossUnit(run.status.spec()), ")")));
  }
  if (!beside.levels.empty()) {
    absl::StrAppend(&tiles, Tile(Loss(beside.levels[0].loss), beside.levels[0].name));
  }
  std::vector<std::vector<std::string>> rows = {{"validation loss, first", Loss(figures.first_val_loss)},
                                                {"validation loss, last", Loss(figures.last_val_loss)},
                                                {"training loss, last", Loss(figures.last_train_loss)}};
  const v1::RunStatus& status = run.status;
  std::string metric_figures;
  for (const std::string& name : status.spec().evaluation().metrics()) {
    rows.push_back({absl::StrCat(name, ", last"), FormatMetric(MetricIn(status.metrics(), name))});
    absl::StrAppend(&metric_figures, MetricFigure(run, name));
  }
  if (status.has_best_round()) {
    rows.push_back({absl::StrCat("best round, by ", status.best().name() == kLossName ? "validation loss" : status.best().name()),
                    absl::StrCat(status.best_round(), " (", FormatMetric(status.best().value()), ")")});
  }
  for (const Beside::NamedLoss& level : beside.levels) {
    rows.push_back({level.name, Loss(level.loss)});
  }
  if (beside.baseline.has_value() && !beside.baseline->points.empty()) {
    rows.push_back({absl::StrCat(beside.baseline->name, ", last"), Loss(beside.baseline->points.back().loss)});
  }
  const std::vector<std::vector<std::string>> more = {
      {"rounds, local steps of each site",
       absl::StrCat(ReadableCount(static_cast<double>(figures.rounds)), ", ", ReadableCount(static_cast<double>(figures.steps)))},
      {"up, a step and site", ReadableBytes(figures.up)},
      {"down, a step and site", ReadableBytes(figures.down)},
      {"dense gradients, both ways", ReadableBytes(figures.dense)},
      {"fewer bytes, all counted", Less(figures.reduction)},
      {"updates that came too late", ReadableCount(static_cast<double>(figures.stragglers))},
      {"time of all rounds", ReadableSeconds(figures.seconds)}};
  rows.insert(rows.end(), more.begin(), more.end());
  const std::string sample = beside.sample.empty() ? ""
                                                   : absl::StrCat("<section class=\"card\"><h2>Text from the model</h2><pre>",
                                                                  EscapeHtml(beside.sample), "</pre></section>\n");
  const std::string image = beside.image.empty()
                                ? ""
                                : absl::StrCat(
                                      "<section class=\"card\"><h2>Images from the model</h2><img alt=\"images from the model\" "
                                      "style=\"max-width:100%\" src=\"data:image/png;base64,",
                                      absl::Base64Escape(beside.image), "\"></section>\n");
  return HtmlPage(run.status.spec().name(),
                  absl::StrCat(Header(run, now), "<div class=\"tiles\">\n", tiles, "</div>\n<div class=\"pair\">\n",
                               LossFigure(run, beside, By::kSteps), LossFigure(run, beside, By::kBytes), metric_figures,
                               BytesFigure(run, figures), "<section class=\"card\"><h2>In figures</h2>", HtmlTable({}, rows),
                               "</section>\n</div>\n", PhasesCard(figures), SitesCard(run.status), HashesCard(run.status), sample, image));
}

std::string ComparisonPage(const std::vector<ReportedRun>& runs, absl::Time now) {
  // Runs of one name are told apart by their ids.
  std::multiset<std::string> names;
  bool all_evaluated = true;
  for (const ReportedRun& run : runs) {
    names.insert(run.status.spec().name());
    all_evaluated = all_evaluated && !ValidationCurve(run).points.empty();
  }
  std::vector<Curve> curves;
  std::vector<LegendEntry> legend;
  std::vector<std::vector<std::string>> rows;
  for (size_t i = 0; i < runs.size(); ++i) {
    const v1::RunStatus& status = runs[i].status;
    const std::string name = names.count(status.spec().name()) == 1 ? status.spec().name() : status.run_id();
    const RunFigures figures = FiguresOf(runs[i]);
    curves.push_back(all_evaluated ? ValidationCurve(runs[i]) : TrainingCurve(runs[i]));
    legend.push_back({kColours[i], name, FormatMethod(status.spec()), false});
    rows.push_back({name, FormatState(status.state()), ReadableCount(static_cast<double>(status.parameters())),
                    absl::StrCat(status.sites_size()), absl::StrCat(status.spec().seed()),
                    ReadableCount(static_cast<double>(figures.steps)), Loss(figures.last_train_loss), Loss(figures.last_val_loss),
                    ReadableBytes(figures.up), ReadableBytes(figures.down), Less(figures.reduction), ReadableSeconds(figures.seconds)});
  }
  std::string figures;
  struct View {
    By by;
    const char* title;
    const char* caption;
    Axis axis;
  };
  const View views[] = {
      {By::kSteps, "By steps", "What each run makes of the same computation.", {"local steps of each site", Scale::kLinear, ReadableCount}},
      {By::kBytes,
       "By bytes",
       "What each run makes of the same line: all that one site had sent and received by then.",
       {"bytes moved by one site, both ways (logarithmic)", Scale::kLogarithmic, ReadableBytes}},
      {By::kSeconds, "By time", "On the machines and lines that the runs had.", {"time of the rounds", Scale::kLinear, ReadableSeconds}}};
  for (const View& view : views) {
    Chart chart;
    chart.description = absl::StrCat("loss of the runs, ", view.title);
    chart.x = view.axis;
    chart.y = LossAxis();
    chart.most_y = MostLoss(curves, {});
    for (size_t i = 0; i < curves.size(); ++i) {
      const size_t points = all_evaluated ? kCurvePoints : kSmoothPoints;
      chart.series.push_back({PointsOf(Thin(curves[i].points, points), view.by), kColours[i], 2, 1, curves[i].points.size() <= 50});
    }
    absl::StrAppend(&figures, Figure(view.title, view.caption, chart, legend));
  }
  return HtmlPage(
      absl::StrCat(runs.size(), " runs"),
      absl::StrCat(
          "<h1>", runs.size(), " runs compared</h1>\n<p>", all_evaluated ? "Validation" : "Training",
          " loss, mean over the sites. Only runs of one model on the same data can be compared by their losses.</p>\n",
          "<p class=\"soft\">Drawn ", ReadableDate(now), " by Tributary ", TRIBUTARY_VERSION,
          ".</p>\n<div class=\"tiles\"></div>\n<div class=\"pair\">\n", figures,
          "</div>\n<section class=\"card wide\"><h2>In figures</h2><p class=\"soft\">Bytes are of one site and step, all "
          "messages with their framing; less: than dense gradients, both ways.</p>",
          HtmlTable({"run", "state", "parameters", "sites", "seed", "steps", "training", "validation", "up", "down", "less", "time"}, rows),
          "</section>\n"));
}

}  // namespace tributary::cli
