// Images from a trained diffusion model: what an exported file has learned, for people to look at.
#ifndef TRIBUTARY_WORKER_SAMPLE_IMAGES_H_
#define TRIBUTARY_WORKER_SAMPLE_IMAGES_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "optim/model_spec.h"

namespace tributary::worker {

struct SampleImagesOptions {
  uint32_t rows = 8;  // of the grid; at most kMostSampledSide
  uint32_t columns = 8;
  // From noise to image; at most those of the model. Nothing: kSampledSteps, or all of them where these are fewer.
  std::optional<uint32_t> steps = std::nullopt;
  uint64_t seed = 1;
  int threads = 1;
};
inline constexpr uint32_t kMostSampledSide = 64;
inline constexpr uint32_t kSampledSteps = 50;

// A grid of images as a PNG; small images are enlarged to at least 64 pixels a side. Each image is a function of the seed and its place
// alone; the same options and weights give the same bytes on one machine. Source: DDIM without noise of its own, Song, Meng, Ermon,
// arXiv 2010.02502, over steps that are spread evenly, with what it takes for the image kept within -1 .. 1.
// InvalidArgument: theta of another size, or options beyond their bounds. FailedPrecondition: what the model predicts is not finite.
absl::StatusOr<std::string> SampleImages(const optim::DdpmModel& model, absl::Span<const float> theta, const SampleImagesOptions& options);

}  // namespace tributary::worker

#endif  // TRIBUTARY_WORKER_SAMPLE_IMAGES_H_
