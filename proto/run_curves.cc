#include "proto/run_curves.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/types/span.h"

namespace tributary {
namespace {

constexpr absl::string_view kCurveHeading = "steps\tbytes\tval_loss";

double StepsOf(const v1::RoundRecord& round) {
  return std::max<uint32_t>(round.local_steps(), 1);
}

template <typename LossOf>
Curve CurveOf(const ReportedRun& run, const char* name, LossOf loss_of) {
  Curve curve{name, {}};
  CurvePoint at;
  for (const v1::RoundRecord& round : run.history.rounds()) {
    if (round.round() > 0) {
      at.steps += StepsOf(round);
      at.bytes += static_cast<double>(round.bytes_up() + round.bytes_down()) / std::max<uint32_t>(round.members(), 1);
      at.seconds += round.duration();
    }
    if (const std::optional<double> loss = loss_of(round); loss.has_value() && std::isfinite(*loss)) {
      at.loss = *loss;
      curve.points.push_back(at);
    }
  }
  return curve;
}

CurvePoint MeanOf(absl::Span<const CurvePoint> points) {
  CurvePoint mean;
  const auto count = static_cast<double>(points.size());
  for (const CurvePoint& point : points) {
    mean.steps += point.steps / count;
    mean.bytes += point.bytes / count;
    mean.seconds += point.seconds / count;
    mean.loss += point.loss / count;
  }
  return mean;
}

}  // namespace

Curve TrainingCurve(const ReportedRun& run) {
  return CurveOf(run, "training", [](const v1::RoundRecord& round) {
    return round.has_train_loss() ? std::make_optional(round.train_loss()) : std::nullopt;
  });
}

Curve ValidationCurve(const ReportedRun& run) {
  return CurveOf(run, "validation",
                 [](const v1::RoundRecord& round) { return round.has_val_loss() ? std::make_optional(round.val_loss()) : std::nullopt; });
}

Curve MetricCurve(const ReportedRun& run, const std::string& metric) {
  return CurveOf(run, metric.c_str(), [&metric](const v1::RoundRecord& round) { return MetricIn(round.metrics(), metric); });
}

std::optional<double> MetricIn(const google::protobuf::RepeatedPtrField<v1::Metric>& metrics, const std::string& name) {
  const auto found = std::find_if(metrics.begin(), metrics.end(), [&name](const v1::Metric& metric) { return metric.name() == name; });
  return found == metrics.end() ? std::nullopt : std::make_optional(found->value());
}

std::string FormatMetric(const std::optional<double>& value) {
  return value.has_value() ? absl::StrFormat("%.4g", *value) : "-";
}

std::vector<CurvePoint> Thin(const std::vector<CurvePoint>& points, size_t most) {
  if (points.size() <= most) {
    return points;
  }
  std::vector<CurvePoint> thinned;
  for (size_t i = 0; i < most; ++i) {
    const size_t begin = i * points.size() / most, end = (i + 1) * points.size() / most;
    thinned.push_back(MeanOf(absl::MakeSpan(points).subspan(begin, end - begin)));
  }
  thinned.back() = points.back();
  return thinned;
}

absl::StatusOr<Curve> ParseCurve(absl::string_view text, absl::string_view source) {
  Curve curve{std::string(source), {}};
  bool heading_seen = false;
  int number = 0;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    ++number;
    line = absl::StripTrailingAsciiWhitespace(line);
    if (line.empty()) {
      continue;
    }
    if (absl::ConsumePrefix(&line, "#")) {
      line = absl::StripAsciiWhitespace(line);
      if (absl::ConsumePrefix(&line, "name:")) {
        curve.name = std::string(absl::StripAsciiWhitespace(line));
      }
      continue;
    }
    if (!heading_seen) {
      heading_seen = line == kCurveHeading;
      if (heading_seen) {
        continue;
      }
    }
    const std::vector<absl::string_view> fields = absl::StrSplit(line, '\t');
    CurvePoint point;
    if (!heading_seen || fields.size() != 3 || !absl::SimpleAtod(fields[0], &point.steps) || !absl::SimpleAtod(fields[1], &point.bytes) ||
        !absl::SimpleAtod(fields[2], &point.loss) || !std::isfinite(point.steps + point.bytes + point.loss)) {
      return absl::InvalidArgumentError(absl::StrCat(source, ":", number,
                                                     ": no point of a curve; after the heading steps<TAB>bytes<TAB>val_loss, ",
                                                     "a line has these three numbers"));
    }
    curve.points.push_back(point);
  }
  return curve;
}

RunFigures FiguresOf(const ReportedRun& run) {
  RunFigures figures;
  double site_steps = 0, up = 0, down = 0, dense = 0, compute = 0, encode = 0, wait = 0, commit = 0;
  for (const v1::RoundRecord& round : run.history.rounds()) {
    if (round.has_val_loss()) {
      figures.first_val_loss = figures.first_val_loss.value_or(round.val_loss());
      figures.last_val_loss = round.val_loss();
    }
    if (round.round() == 0) {
      continue;
    }
    ++figures.rounds;
    figures.steps += static_cast<uint64_t>(StepsOf(round));
    figures.stragglers += round.stragglers();
    figures.seconds += round.duration();
    if (round.has_train_loss()) {
      figures.last_train_loss = round.train_loss();
    }
    site_steps += StepsOf(round) * round.members();
    up += static_cast<double>(round.bytes_up());
    down += static_cast<double>(round.bytes_down());
    dense += 2 * static_cast<double>(round.dense_bytes_per_direction());
    compute += round.compute_seconds();
    encode += round.encode_seconds();
    wait += round.wait_seconds();
    commit += round.commit_seconds();
  }
  if (site_steps > 0) {
    figures.up = up / site_steps;
    figures.down = down / site_steps;
    figures.dense = dense / site_steps;
    figures.reduction = up + down > 0 ? dense / (up + down) : 0;
  }
  if (figures.rounds > 0) {
    const auto rounds = static_cast<double>(figures.rounds);
    figures.phases = {{"compute", compute / rounds},
                      {"encode", encode / rounds},
                      {"wait and travel", std::max(0.0, wait - compute - encode) / rounds},
                      {"commit", commit / rounds}};
  }
  return figures;
}

}  // namespace tributary
