#include "coordinator/status_page.h"

#include <cmath>
#include <limits>
#include <map>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/chart.h"
#include "common/html_page.h"
#include "proto/run_state.h"

namespace tributary::coordinator {
namespace {

constexpr absl::Duration kRefresh = absl::Seconds(10);
constexpr size_t kCurvePoints = 200;

std::string Ago(const std::optional<absl::Time>& then, absl::Time now) {
  if (!then.has_value()) {
    return "not since the coordinator started";
  }
  const absl::Duration age = now - *then;
  return age < absl::Seconds(1) ? "now" : absl::StrCat(ReadableSeconds(std::floor(absl::ToDoubleSeconds(age))), " ago");
}

std::string StateOf(const v1::RunStatus& run) {
  return absl::AsciiStrToLower(v1::RunState_Name(run.state()));
}

std::string Loss(const v1::RunStatus& run) {
  return run.has_val_loss()     ? absl::StrFormat("%.3f", run.val_loss())
         : run.has_train_loss() ? absl::StrFormat("%.3f", run.train_loss())
                                : "-";
}

// Of one site and local step in the newest round.
std::string StepBytes(uint64_t bytes, const v1::RoundRecord& round) {
  const double steps = static_cast<double>(round.members()) * std::max<uint32_t>(round.local_steps(), 1);
  return steps > 0 ? ReadableBytes(static_cast<double>(bytes) / steps) : "-";
}

std::string Reduction(const v1::RoundRecord& round) {
  const double moved = static_cast<double>(round.bytes_up() + round.bytes_down());
  return moved > 0 ? absl::StrCat(ReadableCount(2 * static_cast<double>(round.dense_bytes_per_direction()) / moved), " ×") : "-";
}

std::vector<std::pair<double, double>> PointsOf(const Curve& curve) {
  std::vector<std::pair<double, double>> points;
  for (const CurvePoint& point : Thin(curve.points, kCurvePoints)) {
    points.emplace_back(point.steps, point.loss);
  }
  return points;
}

std::string LossFigure(const ReportedRun& run) {
  const Curve training = TrainingCurve(run), validation = ValidationCurve(run);
  Chart chart;
  chart.description = "loss by local steps";
  chart.x = {"local steps of each site", Scale::kLinear, ReadableCount};
  chart.y = {"", Scale::kLinear, [](double value) { return absl::StrFormat("%.3g", value); }};
  chart.series = {{PointsOf(training), "--a", 1.75, 0.8, false}, {PointsOf(validation), "--b", 2.5, 1, validation.points.size() <= 50}};
  chart.most_y = std::numeric_limits<double>::infinity();
  return Figure(
      "Loss", "Mean over the sites; the lower the better.", chart,
      {{"--a", "training", "on the batches that were trained on", false}, {"--b", "validation", "on data that no site trains on", false}});
}

// Metrics over all and, of sites that share them, per site; empty: none is known.
std::string EvaluationOf(const v1::RunStatus& status) {
  std::vector<std::string> heading = {"", "loss"};
  heading.insert(heading.end(), status.spec().evaluation().metrics().begin(), status.spec().evaluation().metrics().end());
  std::vector<std::vector<std::string>> rows;
  const auto add = [&](const std::string& name, double loss, const google::protobuf::RepeatedPtrField<v1::Metric>& metrics) {
    std::vector<std::string>& row = rows.emplace_back(std::vector<std::string>{name, FormatMetric(loss)});
    for (const std::string& metric : status.spec().evaluation().metrics()) {
      row.push_back(FormatMetric(MetricIn(metrics, metric)));
    }
  };
  if (status.has_val_loss()) {
    add("all sites", status.val_loss(), status.metrics());
  }
  for (const v1::SiteStatus& site : status.sites()) {
    if (site.has_val_loss()) {
      add(site.site(), site.val_loss(), site.metrics());
    }
  }
  if (rows.empty()) {
    return "";
  }
  const std::string best = status.has_best_round()
                               ? absl::StrCat("<p class=\"soft\">Best so far: round ", status.best_round(), ", ",
                                              EscapeHtml(status.best().name()), " ", FormatMetric(status.best().value()), ".</p>")
                               : "";
  return absl::StrCat("<h2>On the validation splits</h2>", HtmlTable(heading, rows), best);
}

std::string RunCard(const ReportedRun& run) {
  const v1::RunStatus& status = run.status;
  const v1::RoundRecord& round = status.last_round();
  const std::string round_text = absl::StrCat(status.round(), " / ", status.spec().rounds());
  std::string html = absl::StrCat("<h2 class=\"run\">", EscapeHtml(status.spec().name()), " <span class=\"state\">", StateOf(status),
                                  "</span></h2>\n<p class=\"soft\">Run ", EscapeHtml(status.run_id()), ", submitted ",
                                  ReadableDate(status.submitted_unix_ms()), ". ", EscapeHtml(status.reason()), "</p>\n");
  absl::StrAppend(&html, "<div class=\"tiles\">\n", Tile(round_text, "rounds committed"),
                  Tile(Reduction(round), "fewer bytes than dense gradients, newest round, both ways"),
                  Tile(Loss(status), status.has_val_loss() ? "validation loss" : "training loss"), "</div>\n");
  absl::StrAppend(&html, "<div class=\"pair\">\n", LossFigure(run), "<section class=\"card\"><h2>In figures</h2>",
                  HtmlTable({}, {{"up, a step and site", StepBytes(round.bytes_up(), round)},
                                 {"down, a step and site", StepBytes(round.bytes_down(), round)},
                                 {"dense gradients, each way", StepBytes(round.dense_bytes_per_direction(), round)},
                                 {"all bytes up", ReadableBytes(static_cast<double>(status.bytes_up_total()))},
                                 {"all bytes down", ReadableBytes(static_cast<double>(status.bytes_down_total()))},
                                 {"updates in the newest round", absl::StrCat(round.included(), " of ", round.members())},
                                 {"duration of the newest round", ReadableSeconds(round.duration())},
                                 {"parameters", ReadableCount(static_cast<double>(status.parameters()))}}),
                  EvaluationOf(status), "</section>\n</div>\n");
  return html;
}

std::string SitesCard(const Standing& standing, absl::Time now) {
  std::vector<std::vector<std::string>> rows;
  for (const SiteStanding& site : standing.sites) {
    rows.push_back({site.site, site.state, Ago(site.last_heard, now), site.run_id.empty() ? "-" : site.run_id,
                    site.software_version.empty() ? "-" : site.software_version, site.note});
  }
  return absl::StrCat("<section class=\"card wide\"><h2>Sites</h2>",
                      HtmlTable({"site", "state", "last heard", "run", "release", "why"}, rows, Columns::kText), "</section>\n");
}

std::string RunsCard(const Standing& standing) {
  std::vector<std::vector<std::string>> rows;
  for (const ReportedRun& run : standing.runs) {
    const v1::RunStatus& status = run.status;
    rows.push_back({status.run_id(), StateOf(status), absl::StrCat(status.round(), " / ", status.spec().rounds()), Loss(status),
                    Reduction(status.last_round()), ReadableDate(status.submitted_unix_ms()), status.reason()});
  }
  const std::string older = standing.older_runs == 0
                                ? ""
                                : absl::StrCat("<p class=\"soft\">And ", standing.older_runs, " older; `tributary run list` has them.</p>");
  return absl::StrCat("<section class=\"card wide\"><h2>Runs</h2>",
                      rows.empty() ? "<p class=\"soft\">None was submitted yet.</p>"
                                   : HtmlTable({"run", "state", "round", "loss", "fewer bytes", "submitted", "why"}, rows, Columns::kText),
                      older, "</section>\n");
}

std::string EventsCard(const Standing& standing) {
  std::vector<std::vector<std::string>> rows;
  for (const RunEvent& what : standing.events) {
    const JournaledEvent& event = what.event;
    rows.push_back({ReadableDate(event.unix_ms), what.run_id, event.site.empty() ? event.actor : event.site, event.kind,
                    event.round == 0 ? "" : absl::StrCat(event.round), event.detail});
  }
  return absl::StrCat(
      "<section class=\"card wide\"><h2>Recent events</h2>",
      rows.empty() ? "<p class=\"soft\">None.</p>" : HtmlTable({"when", "run", "who", "what", "round", "why"}, rows, Columns::kText),
      "</section>\n");
}

}  // namespace

std::string StatusPage(const Standing& standing, absl::Time now) {
  std::string html =
      absl::StrCat("<h1>Federation ", EscapeHtml(standing.federation), "</h1>\n<p class=\"soft\">", standing.server.sites_connected_size(),
                   " of ", standing.sites.size(), " sites connected. Coordinator ", EscapeHtml(standing.server.software_version()), ", ",
                   ReadableBytes(static_cast<double>(standing.server.data_dir_free_bytes())), " free for its data. Drawn ",
                   absl::FormatTime("%Y-%m-%d %H:%M:%S UTC", now, absl::UTCTimeZone()), "; drawn again every ",
                   absl::ToInt64Seconds(kRefresh), " seconds.</p>\n");
  for (const ReportedRun& run : standing.runs) {
    if (!run.history.rounds().empty()) {
      absl::StrAppend(&html, RunCard(run));
    }
  }
  absl::StrAppend(&html, SitesCard(standing, now), RunsCard(standing), EventsCard(standing));
  return HtmlPage(absl::StrCat("federation ", standing.federation), html, kRefresh);
}

std::string BusyPage() {
  return HtmlPage("busy",
                  "<h1>The coordinator is busy</h1>\n<p>It is in the middle of something longer, such as a large round. "
                  "This page comes by itself.</p>\n",
                  kRefresh);
}

}  // namespace tributary::coordinator
