// What one step of a model reads: plain vectors, so that data sources need no tensor library.
#ifndef TRIBUTARY_WORKER_MODELS_BATCH_H_
#define TRIBUTARY_WORKER_MODELS_BATCH_H_

#include <cstdint>
#include <vector>

namespace tributary::worker {

// Row-major. A text batch fills `tokens` and `targets`, a table batch `features` and `targets`.
struct Batch {
  int64_t rows = 0;
  std::vector<int64_t> tokens;   // text: [rows, length], bytes 0..255
  std::vector<float> features;   // table: [rows, columns], standardised
  std::vector<int64_t> targets;  // text: [rows, length], the byte after each token; table: [rows], the class
};

}  // namespace tributary::worker

#endif  // TRIBUTARY_WORKER_MODELS_BATCH_H_
