#include "common/chart.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "common/excerpt.h"

namespace tributary {
namespace {

// In units of the drawing: about a pixel on a narrow screen.
constexpr double kWidth = 400, kHeight = 270, kLeft = 52, kRight = 10, kTop = 10, kBottom = 40;
constexpr int kTicks = 5;

std::string Digits(double value) {
  return absl::StrFormat("%.3g", value);
}

// Maps values to places along one side of the drawing.
class Ruler {
 public:
  Ruler(Scale scale, double low, double high, double begin, double end)
      : scale_(scale), low_(low), high_(high > low ? high : low + 1), begin_(begin), end_(end) {}

  double operator()(double value) const { return begin_ + (Place(value) - Place(low_)) / (Place(high_) - Place(low_)) * (end_ - begin_); }

  std::vector<double> Ticks() const {
    std::vector<double> ticks;
    if (scale_ == Scale::kLogarithmic) {
      const int first = static_cast<int>(std::floor(std::log10(low_))), last = static_cast<int>(std::ceil(std::log10(high_)));
      const int every = std::max(1, (last - first) / 5);
      for (int exponent = first; exponent <= last; exponent += every) {
        for (const double factor : {1.0, 3.0}) {
          if (factor == 1 || last - first <= 2) {
            AddTick(factor * std::pow(10, exponent), &ticks);
          }
        }
      }
      return ticks;
    }
    const double span = high_ - low_;
    double step = std::pow(10, std::floor(std::log10(span / kTicks)));
    for (const double factor : {1.0, 2.0, 2.5, 5.0, 10.0}) {
      if (span / (step * factor) <= kTicks) {
        step *= factor;
        break;
      }
    }
    for (double index = std::ceil(low_ / step - 1e-9); index <= std::floor(high_ / step + 1e-9); ++index) {
      AddTick(index * step, &ticks);
    }
    return ticks;
  }

 private:
  double Place(double value) const { return scale_ == Scale::kLogarithmic ? std::log10(value) : value; }
  void AddTick(double value, std::vector<double>* ticks) const {
    const double slack = scale_ == Scale::kLogarithmic ? 0 : 1e-3 * (high_ - low_);
    if (value >= low_ - slack && value <= high_ + slack) {
      ticks->push_back(value + 0.0);  // never -0
    }
  }

  const Scale scale_;
  const double low_, high_, begin_, end_;
};

struct Range {
  double low = std::numeric_limits<double>::infinity();
  double high = -std::numeric_limits<double>::infinity();

  void Add(double value) {
    low = std::min(low, value);
    high = std::max(high, value);
  }
};

bool Shows(const Axis& axis, double value) {
  return std::isfinite(value) && (axis.scale == Scale::kLinear || value > 0);
}

// With room at both ends, and none below 0 for what is never negative.
Range Widen(const Range& range, Scale scale) {
  if (scale == Scale::kLogarithmic) {
    return {range.low * 0.7, range.high * 1.4};
  }
  const double room = 0.06 * (range.high - range.low) + (range.high == range.low ? 0.05 * std::abs(range.high) + 1e-9 : 0);
  return {range.low >= 0 ? std::max(0.0, range.low - room) : range.low - room, range.high + room};
}

std::string DrawAxes(const Chart& chart, const Ruler& x, const Ruler& y) {
  std::string text;
  for (const double tick : y.Ticks()) {
    absl::StrAppendFormat(&text,
                          R"x(<line x1="%.0f" x2="%.0f" y1="%.1f" y2="%.1f" stroke="var(--grid)"/>)x"
                          R"x(<text x="%.0f" y="%.1f" text-anchor="end">%s</text>)x",
                          kLeft, kWidth - kRight, y(tick), y(tick), kLeft - 6, y(tick) + 4, EscapeHtml(chart.y.format(tick)));
  }
  const double floor = kHeight - kBottom;
  absl::StrAppendFormat(&text, R"x(<line x1="%.0f" x2="%.0f" y1="%.0f" y2="%.0f" stroke="var(--line)"/>)x", kLeft, kWidth - kRight, floor,
                        floor);
  for (const double tick : x.Ticks()) {
    absl::StrAppendFormat(&text,
                          R"x(<line x1="%.1f" x2="%.1f" y1="%.0f" y2="%.0f" stroke="var(--line)"/>)x"
                          R"x(<text x="%.1f" y="%.0f" text-anchor="middle">%s</text>)x",
                          x(tick), x(tick), floor, floor + 4, x(tick), floor + 17, EscapeHtml(chart.x.format(tick)));
  }
  absl::StrAppendFormat(&text, R"x(<text x="%.0f" y="%.0f" text-anchor="middle">%s</text>)x", (kLeft + kWidth - kRight) / 2, kHeight - 5,
                        EscapeHtml(chart.x.title));
  return text;
}

std::string DrawSeries(const Chart& chart, const Series& series, const Ruler& x, const Ruler& y) {
  std::string path, dots;
  for (const auto& [at, value] : series.points) {
    if (!Shows(chart.x, at) || !Shows(chart.y, value)) {
      continue;
    }
    absl::StrAppendFormat(&path, "%s%.1f,%.1f", path.empty() ? "" : " ", x(at), y(value));
    if (series.dots) {
      absl::StrAppendFormat(&dots, R"x(<circle cx="%.1f" cy="%.1f" r="2.5" fill="var(%s)"><title>%s: %.4f</title></circle>)x", x(at),
                            y(value), series.colour, EscapeHtml(chart.x.format(at)), value);
    }
  }
  return absl::StrFormat(R"x(<polyline points="%s" fill="none" stroke="var(%s)" stroke-width="%.3g" stroke-opacity="%.3g" )x"
                         R"x(stroke-linejoin="round" stroke-linecap="round"/>%s)x",
                         path, series.colour, series.width, series.opacity, dots);
}

}  // namespace

std::string EscapeHtml(absl::string_view text) {
  return absl::StrReplaceAll(Escaped(text, LineBreaks::kKeep),
                             {{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}, {"\"", "&quot;"}, {"'", "&#39;"}});
}

std::string ReadableBytes(double bytes) {
  static constexpr const char* kUnits[] = {"B", "kB", "MB", "GB", "TB"};
  int unit = 0;
  while (unit < 4 && std::abs(bytes) >= 999.5) {
    bytes /= 1000;
    ++unit;
  }
  return unit == 0 ? absl::StrFormat("%.0f B", bytes) : absl::StrCat(Digits(bytes), " ", kUnits[unit]);
}

std::string ReadableCount(double count) {
  if (std::abs(count) < 100) {
    return Digits(count);
  }
  const std::string digits = absl::StrFormat("%.0f", count);
  std::string text;
  for (size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % 3 == 0 && digits[i - 1] != '-') {
      text += ',';
    }
    text += digits[i];
  }
  return text;
}

std::string ReadableSeconds(double seconds) {
  if (seconds == 0) {
    return "0 s";
  }
  if (seconds < 1) {
    return absl::StrCat(Digits(seconds * 1000), " ms");
  }
  if (seconds < 120) {
    return absl::StrCat(Digits(seconds), " s");
  }
  const auto minutes = static_cast<uint64_t>(seconds / 60);
  return minutes < 120 ? absl::StrFormat("%d min %02d s", minutes, static_cast<int>(seconds - 60.0 * static_cast<double>(minutes)))
                       : absl::StrFormat("%d h %02d min", minutes / 60, minutes % 60);
}

std::string DrawChart(const Chart& chart) {
  Range across, up;
  for (const Series& series : chart.series) {
    for (const auto& [at, value] : series.points) {
      if (Shows(chart.x, at) && Shows(chart.y, value)) {
        across.Add(at);
        up.Add(std::min(value, chart.most_y));
      }
    }
  }
  if (across.high < across.low) {
    return "";
  }
  for (const Level& level : chart.levels) {
    if (Shows(chart.y, level.value)) {
      up.Add(level.value);
    }
  }
  const Range widened_x = chart.x.scale == Scale::kLinear ? across : Widen(across, chart.x.scale), widened_y = Widen(up, chart.y.scale);
  const Ruler x(chart.x.scale, widened_x.low, widened_x.high, kLeft, kWidth - kRight);
  const Ruler y(chart.y.scale, widened_y.low, widened_y.high, kHeight - kBottom, kTop);
  std::string lines;
  for (const Level& level : chart.levels) {
    if (Shows(chart.y, level.value)) {
      absl::StrAppendFormat(
          &lines, R"x(<line x1="%.0f" x2="%.0f" y1="%.1f" y2="%.1f" stroke="var(%s)" stroke-width="1.5" stroke-dasharray="5 4"/>)x", kLeft,
          kWidth - kRight, y(level.value), y(level.value), level.colour);
    }
  }
  for (const Series& series : chart.series) {
    absl::StrAppend(&lines, DrawSeries(chart, series, x, y));
  }
  // The inner element cuts off what is above the chart.
  return absl::StrFormat(R"x(<svg viewBox="0 0 %.0f %.0f" role="img" aria-label="%s">%s<svg x="%.0f" y="%.0f" width="%.0f" height="%.0f" )x"
                         R"x(viewBox="%.0f %.0f %.0f %.0f">%s</svg></svg>)x",
                         kWidth, kHeight, EscapeHtml(chart.description), DrawAxes(chart, x, y), kLeft, kTop, kWidth - kLeft,
                         kHeight - kTop - kBottom + 3, kLeft, kTop, kWidth - kLeft, kHeight - kTop - kBottom + 3, lines);
}

}  // namespace tributary
