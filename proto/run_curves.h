// What a report draws of a run: its losses as curves over steps, bytes and time, and its figures. Pure.
#ifndef TRIBUTARY_PROTO_RUN_CURVES_H_
#define TRIBUTARY_PROTO_RUN_CURVES_H_

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "google/protobuf/repeated_ptr_field.h"
#include "tributary/v1/admin.pb.h"
#include "tributary/v1/run.pb.h"

namespace tributary {

// A run as a coordinator tells of it.
struct ReportedRun {
  v1::RunStatus status;
  v1::RunHistory history;
};

// A loss, and what one site had spent by then.
struct CurvePoint {
  double steps = 0;    // local steps
  double bytes = 0;    // both directions, every message with its framing
  double seconds = 0;  // of rounds
  double loss = 0;
};

struct Curve {
  std::string name;
  std::vector<CurvePoint> points;  // in order of their steps
};

// Means over the sites. Losses that are no numbers are left out.
Curve TrainingCurve(const ReportedRun& run);
Curve ValidationCurve(const ReportedRun& run);
// Of a metric of the run's evaluations: `loss` of its points is the metric.
Curve MetricCurve(const ReportedRun& run, const std::string& metric);

// The value of the first of that name; nothing: none has it.
std::optional<double> MetricIn(const google::protobuf::RepeatedPtrField<v1::Metric>& metrics, const std::string& name);
// "0.9431".
std::string FormatMetric(const std::optional<double>& value);

// At most `most` points: the means of as many stretches. The last point stays as it is.
std::vector<CurvePoint> Thin(const std::vector<CurvePoint>& points, size_t most);

// A curve in text: lines `# name: NAME` and other comments, a heading `steps<TAB>bytes<TAB>val_loss`, then a line a point. `source` is
// named in errors: InvalidArgument with the line.
absl::StatusOr<Curve> ParseCurve(absl::string_view text, absl::string_view source);

// Of all rounds committed so far. Bytes are of one site and one local step.
struct RunFigures {
  uint64_t rounds = 0;
  uint64_t steps = 0;  // local, of one site
  double up = 0;
  double down = 0;
  double dense = 0;      // what fp32 gradients would have moved, both ways
  double reduction = 0;  // dense over moved; 0: nothing was measured
  uint64_t stragglers = 0;
  double seconds = 0;
  std::optional<double> first_val_loss, last_val_loss, last_train_loss;
  // What a round's time goes to, and its mean seconds.
  std::vector<std::pair<std::string, double>> phases;
};
RunFigures FiguresOf(const ReportedRun& run);

}  // namespace tributary

#endif  // TRIBUTARY_PROTO_RUN_CURVES_H_
