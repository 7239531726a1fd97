// Text from a trained model: what an exported file has learned, for people to read.
#ifndef TRIBUTARY_WORKER_SAMPLE_H_
#define TRIBUTARY_WORKER_SAMPLE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "optim/model_spec.h"

namespace tributary::worker {

struct SampleOptions {
  std::string prompt;        // empty: as after a line end
  uint32_t bytes = 300;      // generated
  double temperature = 0.8;  // 0: always the likeliest byte
  uint64_t seed = 1;
  int threads = 1;
};

// The prompt and what the model continues it with: raw bytes, for PrintableUtf8 (data/utf8.h) to make presentable. The same options and
// weights give the same text on one machine. InvalidArgument: a model whose tokens are not bytes, theta of another size, or a negative
// temperature.
absl::StatusOr<std::string> SampleText(const optim::ModelSpec& model, absl::Span<const float> theta, const SampleOptions& options);

}  // namespace tributary::worker

#endif  // TRIBUTARY_WORKER_SAMPLE_H_
