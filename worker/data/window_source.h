// A DataSource of windows of consecutive tokens, whatever keeps them: the bytes of text, or the numbers that a tokenizer has written.
#ifndef TRIBUTARY_WORKER_DATA_WINDOW_SOURCE_H_
#define TRIBUTARY_WORKER_DATA_WINDOW_SOURCE_H_

#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>
#include <vector>

#include "worker/data/data_source.h"
#include "worker/data/spacing.h"

namespace tributary::worker {

// `Tokens`: a string, or a vector of unsigned integers. Each split has more than `context` tokens, each below `vocabulary`.
template <typename Tokens>
class WindowSource final : public DataSource {
 public:
  WindowSource(Tokens training, Tokens validation, uint64_t context, size_t vocabulary, const DataOptions& options,
               DataDescription description)
      : training_(std::move(training)),
        validation_(std::move(validation)),
        context_(context),
        vocabulary_(vocabulary),
        spacing_(Windows(validation_), options.evaluation_batches, options.batch_size),
        description_(std::move(description)) {}

  Batch DrawTraining(CounterRng& rng, uint32_t rows) const override {
    Batch batch = Reserve(rows);
    for (uint32_t i = 0; i < rows; ++i) {
      Append(training_, rng.Below(Windows(training_)), batch);
    }
    return batch;
  }

  uint64_t training_samples() const override { return training_.size() / context_; }

  const DataDescription& description() const override { return description_; }

  uint32_t validation_batches() const override { return spacing_.batches(); }

  Batch Validation(uint32_t index) const override {
    const uint32_t rows = spacing_.RowsOf(index);
    Batch batch = Reserve(rows);
    for (uint32_t i = 0; i < rows; ++i) {
      Append(validation_, spacing_.Place(index, i), batch);
    }
    return batch;
  }

  std::vector<uint64_t> TrainingTargetCounts() const override {
    std::vector<uint64_t> counts(vocabulary_, 0);
    for (const auto token : training_) {
      ++counts[static_cast<Unsigned>(token)];
    }
    return counts;
  }

 private:
  using Unsigned = std::make_unsigned_t<typename Tokens::value_type>;

  // Places where a window of context_ tokens and the target of the last one can start.
  uint64_t Windows(const Tokens& tokens) const { return tokens.size() - context_; }

  Batch Reserve(uint32_t rows) const {
    Batch batch;
    batch.rows = rows;
    batch.tokens.reserve(rows * context_);
    batch.targets.reserve(rows * context_);
    return batch;
  }

  void Append(const Tokens& tokens, uint64_t start, Batch& batch) const {
    for (uint64_t i = start; i < start + context_; ++i) {
      batch.tokens.push_back(static_cast<Unsigned>(tokens[i]));
      batch.targets.push_back(static_cast<Unsigned>(tokens[i + 1]));
    }
  }

  const Tokens training_;
  const Tokens validation_;
  const uint64_t context_;
  const size_t vocabulary_;
  const EvenSpacing spacing_;
  const DataDescription description_;
};

}  // namespace tributary::worker

#endif  // TRIBUTARY_WORKER_DATA_WINDOW_SOURCE_H_
