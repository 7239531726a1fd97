#include "worker/status_page.h"

#include <algorithm>
#include <map>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "common/chart.h"
#include "common/html_page.h"

namespace tributary::worker {
namespace {

constexpr absl::Duration kRefresh = absl::Seconds(10);
constexpr size_t kSentShown = 20;
constexpr size_t kDigestShown = 12;

std::string Second(absl::Time time) {
  return absl::FormatTime("%Y-%m-%d %H:%M:%S UTC", time, absl::UTCTimeZone());
}

std::string Loss(const std::optional<double>& loss) {
  return loss.has_value() ? absl::StrFormat("%.4g", *loss) : "-";
}

std::string What(const Sent& sent) {
  return sent.sha256.empty() ? "evaluation" : "update";
}

struct RunTotal {
  uint64_t updates = 0;
  uint64_t bytes = 0;
  absl::Time first = absl::InfiniteFuture();
  absl::Time last = absl::InfinitePast();
};

// In the order of the newest that was sent of them.
std::vector<std::pair<std::string, RunTotal>> TotalsOf(const std::vector<Sent>& all) {
  std::map<std::string, RunTotal> by_run;
  for (const Sent& sent : all) {
    RunTotal& total = by_run[sent.run_id];
    total.updates += sent.sha256.empty() ? 0 : 1;
    total.bytes += sent.bytes;
    total.first = std::min(total.first, sent.at);
    total.last = std::max(total.last, sent.at);
  }
  std::vector<std::pair<std::string, RunTotal>> totals(by_run.begin(), by_run.end());
  std::stable_sort(totals.begin(), totals.end(), [](const auto& a, const auto& b) { return a.second.last > b.second.last; });
  return totals;
}

std::vector<std::string> RowOf(const Sent& sent) {
  return {Second(sent.at),
          sent.to,
          sent.run_id,
          absl::StrCat(sent.round),
          What(sent),
          sent.bytes == 0 ? "-" : ReadableBytes(static_cast<double>(sent.bytes)),
          Loss(sent.train_loss),
          Loss(sent.val_loss),
          sent.sha256.empty() ? "-" : absl::BytesToHexString(sent.sha256).substr(0, kDigestShown)};
}

std::string SentCards(const WorkerStanding& standing) {
  std::vector<std::vector<std::string>> totals, newest;
  for (const auto& [run, total] : TotalsOf(standing.sent)) {
    totals.push_back({run, ReadableCount(static_cast<double>(total.updates)), ReadableBytes(static_cast<double>(total.bytes)),
                      Second(total.first), Second(total.last)});
  }
  for (auto sent = standing.sent.rbegin(); sent != standing.sent.rend() && newest.size() < kSentShown; ++sent) {
    newest.push_back(RowOf(*sent));
  }
  if (newest.empty()) {
    return "<section class=\"card\"><h2>What was sent</h2><p class=\"soft\">Nothing yet.</p></section>\n";
  }
  return absl::StrCat(
      "<section class=\"card wide\"><h2>What was sent, by run</h2>",
      HtmlTable({"run", "updates", "bytes", "first", "last"}, totals, Columns::kText),
      "</section>\n<section class=\"card wide\"><h2>What was sent last</h2><p class=\"soft\">Bytes of the update itself. The whole "
      "record: ",
      "<code>tributary-worker status --config worker.yaml</code></p>",
      HtmlTable({"when", "to", "run", "round", "what", "bytes", "training loss", "validation loss", "SHA-256"}, newest, Columns::kText),
      "</section>\n");
}

std::string ConsentCard(const v1::WorkerConfig& config) {
  const v1::ConsentConfig& consent = config.consent();
  return absl::StrCat(
      "<section class=\"card\"><h2>Consent</h2><p class=\"soft\">Any other run is refused.</p>",
      HtmlTable({},
                {{"runs", absl::StrJoin(consent.runs(), ", ")},
                 {"models", absl::StrJoin(consent.models(), ", ")},
                 {"local steps a round, at most", ReadableCount(consent.max_local_steps())},
                 {"rounds, at most", ReadableCount(static_cast<double>(consent.max_rounds()))},
                 {"parameters, at most", ReadableCount(static_cast<double>(consent.max_parameters()))},
                 {"samples of a batch", absl::StrCat(consent.min_batch_size(), " to ", ReadableCount(consent.max_batch_size()))},
                 {"samples to train on, at least", ReadableCount(static_cast<double>(consent.min_samples()))},
                 {"gradients", absl::StrCat(consent.allow_unclipped() ? "clipped or not" : "clipped",
                                            consent.allow_small_gradients() ? ", of single samples too" : "")},
                 {"losses", config.withhold_losses() ? "stay here" : "are reported"}},
                Columns::kText),
      "</section>\n");
}

std::string SiteCard(const WorkerStanding& standing, absl::Time now) {
  const v1::WorkerConfig& config = standing.config;
  const auto rate = [](uint64_t bytes) {
    return bytes == 0 ? "all of the line" : absl::StrCat(ReadableBytes(static_cast<double>(bytes)), " a second");
  };
  const std::string quiet =
      config.quiet_hours().empty()
          ? "none"
          : absl::StrCat(absl::StrJoin(config.quiet_hours(), ", "),
                         standing.quiet_until.has_value() ? absl::StrCat("; quiet now, until ", *standing.quiet_until) : "");
  const std::string expiry =
      !standing.certificate_expiry.has_value()
          ? "no TLS"
          : absl::StrCat(ReadableDate(*standing.certificate_expiry),
                         *standing.certificate_expiry < now
                             ? ", expired"
                             : absl::StrCat(", in ", absl::ToInt64Hours(*standing.certificate_expiry - now) / 24, " days"));
  return absl::StrCat("<section class=\"card\"><h2>This site</h2>",
                      HtmlTable({},
                                {{"coordinator", standing.coordinator},
                                 {"certificate ends", expiry},
                                 {"quiet hours", quiet},
                                 {"bandwidth up", rate(config.bandwidth().up())},
                                 {"bandwidth down", rate(config.bandwidth().down())},
                                 {"data", absl::StrCat(config.data(), ", read, never sent")}},
                                Columns::kText),
                      "</section>\n");
}

std::string NotesCard(const std::vector<WorkerNote>& notes) {
  std::vector<std::vector<std::string>> rows;
  for (const WorkerNote& note : notes) {
    rows.push_back({Second(note.at), note.text});
  }
  return rows.empty()
             ? ""
             : absl::StrCat("<section class=\"card wide\"><h2>Recent events</h2>", HtmlTable({}, rows, Columns::kText), "</section>\n");
}

}  // namespace

std::string StatusPage(const WorkerStanding& standing, absl::Time now) {
  uint64_t bytes = 0;
  for (const Sent& sent : standing.sent) {
    bytes += sent.bytes;
  }
  const std::string state = standing.quiet_until.has_value() ? "quiet" : standing.connected ? "connected" : "not connected";
  return HtmlPage(
      absl::StrCat("site ", standing.config.site()),
      absl::StrCat(
          "<h1>Site ", EscapeHtml(standing.config.site()), " <span class=\"state\">", state, "</span></h1>\n<p class=\"soft\">Federation ",
          EscapeHtml(standing.config.federation()), ". Worker ", EscapeHtml(standing.software_version), ". Drawn ", Second(now),
          "; drawn again every ", absl::ToInt64Seconds(kRefresh), " seconds.</p>\n<div class=\"tiles\">\n",
          Tile(standing.run.empty() ? "none" : standing.run, "run that it takes part in"),
          Tile(standing.round.has_value() ? absl::StrCat(*standing.round) : "-", "round of the model that it holds"),
          Tile(ReadableBytes(static_cast<double>(bytes)), "of updates sent, as far as the record goes back"),
          Tile(standing.sent.empty() ? "-" : absl::FormatTime("%H:%M:%S", standing.sent.back().at, absl::UTCTimeZone()), "sent last (UTC)"),
          "</div>\n<div class=\"pair\">\n", ConsentCard(standing.config), SiteCard(standing, now), "</div>\n", SentCards(standing),
          NotesCard(standing.notes)),
      kRefresh);
}

std::string BusyPage() {
  return HtmlPage("busy", "<h1>The worker is busy</h1>\n<p>This page comes by itself.</p>\n", kRefresh);
}

std::string SentText(const std::vector<Sent>& all, size_t most) {
  if (all.empty()) {
    return "nothing was sent yet\n";
  }
  std::string text;
  for (const auto& [run, total] : TotalsOf(all)) {
    absl::StrAppend(&text, run, ": ", total.updates, " updates, ", ReadableBytes(static_cast<double>(total.bytes)), ", from ",
                    Second(total.first), " to ", Second(total.last), "\n");
  }
  absl::StrAppend(&text, "\n");
  const size_t first = all.size() - std::min(most, all.size());
  for (size_t i = first; i < all.size(); ++i) {
    absl::StrAppend(&text, absl::StrJoin(RowOf(all[i]), "  "), "\n");
  }
  return text;
}

}  // namespace tributary::worker
