// Parts of our pages: HTML in one file, with nothing from elsewhere, in light and dark, readable from 350 pixels of width on. Pure.
//
// What is given as text is escaped here; what is given as `html` is not.
#ifndef TRIBUTARY_COMMON_HTML_PAGE_H_
#define TRIBUTARY_COMMON_HTML_PAGE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/chart.h"

namespace tributary {

// The whole page. `refresh`: how often a browser asks for it again; infinite: never.
std::string HtmlPage(absl::string_view title, absl::string_view body_html, absl::Duration refresh = absl::InfiniteDuration());

// What a line of a chart, or a colour of the page's style, means.
struct LegendEntry {
  std::string colour;  // "--a"
  std::string name;
  std::string meaning;
  bool dashed = false;
};
std::string Legend(const std::vector<LegendEntry>& entries);

// A chart in a card, with its title, and a caption that gives way where there is nothing to draw.
std::string Figure(absl::string_view title, absl::string_view caption, const Chart& chart, const std::vector<LegendEntry>& legend);

// A figure that matters, large, and what it is.
std::string Tile(absl::string_view value, absl::string_view text);

// What the columns beside the first hold.
enum class Columns { kNumbers, kText };
// `heading` may be empty.
std::string HtmlTable(const std::vector<std::string>& heading, const std::vector<std::vector<std::string>>& rows,
                      Columns columns = Columns::kNumbers);

// "2026-01-31 08:15 UTC"; of 0: "-".
std::string ReadableDate(absl::Time time);
std::string ReadableDate(int64_t unix_ms);

}  // namespace tributary

#endif  // TRIBUTARY_COMMON_HTML_PAGE_H_
