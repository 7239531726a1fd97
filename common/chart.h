// Line charts as SVG, which a page's own style colours: readable from 350 pixels of width on. Pure.
#ifndef TRIBUTARY_COMMON_CHART_H_
#define TRIBUTARY_COMMON_CHART_H_

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"

namespace tributary {

// `text` inside an element or an attribute in quotes.
std::string EscapeHtml(absl::string_view text);

// Three digits of the unit that reads best: "1.23 MB" (powers of ten), "1,234", "2.5 s", "3 min 05 s".
std::string ReadableBytes(double bytes);
std::string ReadableCount(double count);
std::string ReadableSeconds(double seconds);

enum class Scale { kLinear, kLogarithmic };

struct Axis {
  std::string title;
  Scale scale = Scale::kLinear;
  std::function<std::string(double)> format = ReadableCount;
};

struct Series {
  std::vector<std::pair<double, double>> points;  // (x, y)
  std::string colour;                             // a variable of the page's style: "--a"
  double width = 2;
  double opacity = 1;
  bool dots = false;  // a mark at each point, with its values as a tip
};

struct Level {
  double value = 0;
  std::string colour;
};

struct Chart {
  std::string description;  // for people who do not see it
  Axis x, y;
  std::vector<Series> series;
  std::vector<Level> levels;  // dashed, over the whole width
  // Values of y above are cut off, such as the first steps of a loss; infinity: none.
  double most_y;
};

// An svg element. Points that a logarithmic axis cannot show are left out. Empty if there is nothing to draw.
std::string DrawChart(const Chart& chart);

}  // namespace tributary

#endif  // TRIBUTARY_COMMON_CHART_H_
