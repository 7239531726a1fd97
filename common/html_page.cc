#include "common/html_page.h"

#include "absl/strings/str_cat.h"

namespace tributary {
namespace {

constexpr char kStyle[] = R"css(
:root{color-scheme:light dark;--page:#f7f7f5;--card:#fff;--ink:#1b1d21;--soft:#5d636e;--line:#d5d5d0;--grid:#ececea;
--a:#2558c4;--b:#c2570c;--c:#15803d;--d:#7e3bb5;--e:#0e7490;--f:#be185d;--g:#854d0e;--h:#475569;--good:#15803d;--bad:#b91c1c}
@media (prefers-color-scheme:dark){:root{--page:#14161a;--card:#1c1f25;--ink:#e9eaec;--soft:#a0a6b1;--line:#3a3f48;--grid:#282c33;
--a:#7aa5ff;--b:#fb9a55;--c:#58c983;--d:#c494f2;--e:#4cc9e0;--f:#f583b6;--g:#d9a441;--h:#a9b4c4;--good:#58c983;--bad:#f87171}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:15px/1.5 system-ui,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;
font-variant-numeric:tabular-nums}
main{max-width:1080px;margin:0 auto;padding:32px 20px 48px}
h1{font-size:26px;line-height:1.25;margin:0 0 4px;overflow-wrap:anywhere}
h2{font-size:16px;margin:0 0 2px}
h2.run{font-size:20px;margin:24px 0 2px;overflow-wrap:anywhere}
p{margin:0 0 2px}
.soft,figcaption{color:var(--soft);font-size:13px}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:12px;margin:20px 0 12px}
.card{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:16px 18px;margin:0 0 12px;min-width:0}
.tiles .card{margin:0}
.tile b{display:block;font-size:26px;line-height:1.2;font-weight:650}
.tile span{color:var(--soft);font-size:13px}
.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,430px),1fr));gap:0 12px}
figure>svg{display:block;width:100%;height:auto;margin-top:8px;overflow:visible}
svg text{font:12px system-ui,"Segoe UI",Roboto,Arial,sans-serif;fill:var(--soft);font-variant-numeric:tabular-nums}
ul{list-style:none;margin:8px 0 0;padding:0;font-size:13px;color:var(--soft)}
li{padding-left:26px;position:relative}
li i{position:absolute;left:0;top:.65em;width:18px;border-top:3px solid}
li i.dashed{border-top-style:dashed}
li b{color:var(--ink);font-weight:600}
.wide{overflow-x:auto}
.pair td{overflow-wrap:anywhere}
table{border-collapse:collapse;width:100%;margin-top:8px;font-size:14px}
th{font-weight:500;color:var(--soft);text-align:left}
th,td{padding:5px 12px 5px 0;border-bottom:1px solid var(--line);vertical-align:top}
tr:last-child>*{border-bottom:0}
td.n,th.n{text-align:right;padding-right:0;padding-left:12px}
.bar{display:flex;gap:2px;height:26px;margin-top:10px}
.bar span{border-radius:4px;min-width:1px}
code,pre{font:13px/1.5 ui-monospace,"SF Mono",Menlo,Consolas,"DejaVu Sans Mono",monospace}
code{overflow-wrap:anywhere}
.state{border:1px solid var(--line);border-radius:999px;padding:1px 9px;font-size:13px;white-space:nowrap}
pre{white-space:pre-wrap;overflow-wrap:anywhere;margin:8px 0 0}
.good{color:var(--good)}.bad{color:var(--bad)}
@media (max-width:480px){main{padding:20px 10px 32px}.card{padding:12px}h1{font-size:22px}}
)css";

}  // namespace

std::string HtmlPage(absl::string_view title, absl::string_view body_html, absl::Duration refresh) {
  const std::string again = refresh == absl::InfiniteDuration()
                                ? ""
                                : absl::StrCat("<meta http-equiv=\"refresh\" content=\"", absl::ToInt64Seconds(refresh), "\">\n");
  return absl::StrCat("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">",
                      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n", again,
                      "<title>Tributary: ", EscapeHtml(title), "</title><style>", kStyle, "</style></head><body><main>\n", body_html,
                      "</main></body></html>\n");
}

std::string Legend(const std::vector<LegendEntry>& entries) {
  std::string text = "<ul>";
  for (const LegendEntry& entry : entries) {
    absl::StrAppend(&text, "<li><i", entry.dashed ? " class=\"dashed\"" : "", " style=\"border-color:var(", entry.colour, ")\"></i><b>",
                    EscapeHtml(entry.name), "</b>", entry.meaning.empty() ? "" : ": ", EscapeHtml(entry.meaning), "</li>");
  }
  return absl::StrCat(text, "</ul>");
}

std::string Figure(absl::string_view title, absl::string_view caption, const Chart& chart, const std::vector<LegendEntry>& legend) {
  const std::string drawing = DrawChart(chart);
  return absl::StrCat("<figure class=\"card\"><h2>", EscapeHtml(title), "</h2><figcaption>",
                      drawing.empty() ? "Nothing was measured yet." : EscapeHtml(caption), "</figcaption>", drawing,
                      drawing.empty() ? "" : Legend(legend), "</figure>\n");
}

std::string Tile(absl::string_view value, absl::string_view text) {
  return absl::StrCat("<div class=\"card tile\"><b>", EscapeHtml(value), "</b><span>", EscapeHtml(text), "</span></div>\n");
}

std::string HtmlTable(const std::vector<std::string>& heading, const std::vector<std::vector<std::string>>& rows, Columns columns) {
  const char* const other = columns == Columns::kNumbers ? " class=\"n\">" : ">";
  std::string text = "<table>";
  const auto add = [&text, other](const std::vector<std::string>& row, const char* element) {
    absl::StrAppend(&text, "<tr>");
    for (size_t i = 0; i < row.size(); ++i) {
      absl::StrAppend(&text, "<", element, i > 0 ? other : ">", EscapeHtml(row[i]), "</", element, ">");
    }
    absl::StrAppend(&text, "</tr>");
  };
  if (!heading.empty()) {
    add(heading, "th");
  }
  for (const auto& row : rows) {
    add(row, "td");
  }
  return absl::StrCat(text, "</table>");
}

std::string ReadableDate(absl::Time time) {
  return absl::FormatTime("%Y-%m-%d %H:%M UTC", time, absl::UTCTimeZone());
}

std::string ReadableDate(int64_t unix_ms) {
  return unix_ms == 0 ? "-" : ReadableDate(absl::FromUnixMillis(unix_ms));
}

}  // namespace tributary
