// What one step of a model reads: plain vectors, so that data sources need no tensor library.
#ifndef TRIBUTARY_WORKER_MODELS_BATCH_H_
#define TRIBUTARY_WORKER_MODELS_BATCH_H_

#include <cstdint>
#include <vector>

namespace tributary::worker {

// Row-major. A batch of text or tokens fills `tokens` and `targets`; of a table `features`, and `targets` or `values`; of images `features`
// and, where they have classes, `targets`.
struct Batch {
  int64_t rows = 0;
  // [rows, length], numbers of tokens; text: bytes 0..255. Images of a diffusion model: [rows], the step at which each is; empty: the model
  // draws steps and mixes in noise itself.
  std::vector<int64_t> tokens;
  std::vector<float> features;   // table: [rows, columns], standardised; images: [rows, channels, height, width], from -1 to 1
  std::vector<int64_t> targets;  // text, tokens: [rows, length], the token after each; else [rows], the class
  std::vector<float> values;     // [rows], the number to predict
  std::vector<float> weights;    // [targets or values], how much each counts in the mean loss; empty: all the same
  uint64_t draw = 0;             // seeds what a model itself draws at random for this batch
};

}  // namespace tributary::worker

#endif  // TRIBUTARY_WORKER_MODELS_BATCH_H_
