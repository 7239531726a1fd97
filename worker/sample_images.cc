#include "worker/sample_images.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "worker/data/counter_rng.h"
#include "worker/data/image_file.h"
#include "worker/models/model.h"
#include "worker/models/noise_schedule.h"

namespace tributary::worker {
namespace {

constexpr int64_t kLeastSide = 64;
constexpr int64_t kBorder = 2;
constexpr uint8_t kBorderColour = 128;
// Images that go through the model together.
constexpr int64_t kTogether = 16;

// Turns the noise in `batch` into images, from step to step.
absl::Status Denoise(Model& model, absl::Span<const float> theta, const std::vector<double>& left, int64_t steps, Batch& batch) {
  const auto last = static_cast<int64_t>(left.size()) - 1;
  const auto step_at = [&](int64_t i) { return steps == 1 ? last : i * last / (steps - 1); };
  for (int64_t i = steps; i-- > 0;) {
    const double here = left[static_cast<size_t>(step_at(i))];
    const double next = i == 0 ? 1 : left[static_cast<size_t>(step_at(i - 1))];
    batch.tokens.assign(static_cast<size_t>(batch.rows), step_at(i));
    TRIBUTARY_ASSIGN_OR_RETURN(const std::vector<float> noise, model.Outputs(theta, batch));
    if (!absl::c_all_of(noise, [](float value) { return std::isfinite(value); })) {
      return absl::FailedPreconditionError("the model predicts noise that is not finite: its weights are damaged, or its run diverged");
    }
    for (size_t v = 0; v < noise.size(); ++v) {
      const double x = batch.features[v];
      const double image = std::clamp((x - std::sqrt(1 - here) * noise[v]) / std::sqrt(here), -1.0, 1.0);
      const double implied = (x - std::sqrt(here) * image) / std::sqrt(1 - here);
      batch.features[v] = static_cast<float>(std::sqrt(next) * image + std::sqrt(1 - next) * implied);
    }
  }
  return absl::OkStatus();
}

// The grid that the images are painted on.
class Grid {
 public:
  Grid(const optim::DdpmModel& model, const SampleImagesOptions& options)
      : size_(model.size), times_((kLeastSide + size_ - 1) / size_), columns_(options.columns) {
    raster_.channels = model.channels;
    raster_.height = static_cast<int64_t>(options.rows) * cell() + kBorder;
    raster_.width = columns_ * cell() + kBorder;
    raster_.pixels.assign(static_cast<size_t>(raster_.height * raster_.width * raster_.channels), kBorderColour);
  }

  // `image` [channels, size, size] is the one at `place`, counted along rows.
  void Paint(int64_t place, absl::Span<const float> image) {
    const int64_t top = place / columns_ * cell() + kBorder;
    const int64_t left = place % columns_ * cell() + kBorder;
    for (int64_t y = 0; y < size_ * times_; ++y) {
      for (int64_t x = 0; x < size_ * times_; ++x) {
        for (int64_t c = 0; c < raster_.channels; ++c) {
          const float value = image[static_cast<size_t>((c * size_ + y / times_) * size_ + x / times_)];
          raster_.pixels[static_cast<size_t>(((top + y) * raster_.width + left + x) * raster_.channels + c)] =
              static_cast<uint8_t>(std::clamp(std::floor((value + 1) * 127.5f + 0.5f), 0.0f, 255.0f));
        }
      }
    }
  }

  const Raster& raster() const { return raster_; }

 private:
  int64_t cell() const { return size_ * times_ + kBorder; }

  const int64_t size_;
  const int64_t times_;
  const int64_t columns_;
  Raster raster_;
};

int64_t StepsOf(const optim::DdpmModel& model, const SampleImagesOptions& options) {
  return options.steps.has_value() ? int64_t{*options.steps} : std::min<int64_t>(kSampledSteps, model.steps);
}

absl::Status CheckOptions(const optim::DdpmModel& model, const SampleImagesOptions& options) {
  if (options.rows < 1 || options.columns < 1 || options.rows > kMostSampledSide || options.columns > kMostSampledSide) {
    return absl::InvalidArgumentError(
        absl::StrCat("a grid of ", options.rows, " x ", options.columns, " images: rows and columns are from 1 to ", kMostSampledSide));
  }
  if (const int64_t steps = StepsOf(model, options); steps < 1 || steps > model.steps) {
    return absl::InvalidArgumentError(absl::StrCat(steps, " steps, where the model has ", model.steps, " (model.ddpm.steps)"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::string> SampleImages(const optim::DdpmModel& model, absl::Span<const float> theta, const SampleImagesOptions& options) {
  TRIBUTARY_RETURN_IF_ERROR(CheckOptions(model, options));
  TRIBUTARY_ASSIGN_OR_RETURN(const optim::Layout layout, optim::MakeLayout(model));
  TRIBUTARY_ASSIGN_OR_RETURN(const std::unique_ptr<Model> network, Model::Create(model, layout, options.threads));
  const std::vector<double> left = NoiseSchedule(model.steps);
  const int64_t count = static_cast<int64_t>(options.rows) * options.columns;
  const auto values = static_cast<size_t>(model.channels * model.size * model.size);
  Grid grid(model, options);
  for (int64_t first = 0; first < count; first += kTogether) {
    Batch batch;
    batch.rows = std::min(kTogether, count - first);
    for (int64_t image = first; image < first + batch.rows; ++image) {
      CounterRng rng(absl::StrCat("tributary sample/", options.seed, "/", image));
      for (size_t v = 0; v < values; ++v) {
        batch.features.push_back(static_cast<float>(DrawNormal(rng)));
      }
    }
    TRIBUTARY_RETURN_IF_ERROR(Denoise(*network, theta, left, StepsOf(model, options), batch));
    for (int64_t image = 0; image < batch.rows; ++image) {
      grid.Paint(first + image, absl::MakeConstSpan(batch.features).subspan(static_cast<size_t>(image) * values, values));
    }
  }
  return EncodePng(grid.raster());
}

}  // namespace tributary::worker
