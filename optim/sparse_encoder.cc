// The worker's half of the sparse modes.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/bytes.h"
#include "common/status_macros.h"
#include "optim/modes.h"
#include "optim/quantise.h"
#include "optim/residual.h"
#include "optim/sealed_state.h"
#include "optim/sparse_chunk.h"
#include "optim/sparse_modes.h"

namespace tributary::optim {
namespace {

// Norms from here on are refused like infinity: squares and sums of what is below stay finite in the residual and its transform.
constexpr double kMaxNorm = 1e18;

class SparseEncoder final : public UpdateEncoder {
 public:
  SparseEncoder(const OptimizerOptions& options, const Layout& layout, int threads)
      : options_(options), layout_(layout), threads_(threads), plan_(options, layout), residual_(layout.size(), 0.0f) {
    int64_t kept = 0;
    for (const SegmentShape& shape : plan_.update_shape().segments) {
      first_kept_.push_back(kept);
      kept += int64_t{shape.chunk_count} * shape.max_kept;
    }
    kept_index_.resize(kept);
    kept_value_.resize(kept);
    kept_count_.resize(plan_.chunks());
  }

  absl::StatusOr<std::string> Encode(const RoundParameters& parameters, absl::Span<const float> direction) override;
  void Settle(UpdateFate fate) override;
  double ResidualNorm() const override { return Norm(residual_, threads_); }
  // The pending payload, if any, then the residual.
  std::string SaveState() const override {
    return SealState(Kind(), layout_,
                     {pending_ ? EncodePayload(plan_.update_shape(), sent_) : std::string(), AsBytes(absl::MakeConstSpan(residual_))});
  }
  absl::Status RestoreState(absl::string_view state) override;

 private:
  bool sends_floats() const { return TraitsOf(options_.mode).family == Family::kFloatComponents; }
  std::string Kind() const { return absl::StrCat("encoder ", ModeName(options_.mode)); }
  int64_t FirstKept(size_t segment, int64_t chunk) const {
    return first_kept_[segment] + (chunk - plan_.segments()[segment].first_chunk) * plan_.update_shape().segments[segment].max_kept;
  }
  // What the direction is multiplied with on its way into the residual.
  float GainFor(const RoundParameters& parameters, double norm) const;
  // Adds the chunk's share of the direction to the residual and keeps its largest components.
  void EncodeChunk(size_t number, int64_t chunk, float gain, const float* direction, ChunkWorkspace& work);
  // Fills sent_ with what was kept, as it will be decoded.
  void Quantise();

  const OptimizerOptions options_;
  const Layout& layout_;
  const int threads_;
  const ChunkPlan plan_;
  std::vector<float> residual_;  // [layout.size()]
  // Components kept of each chunk: max_kept places for each, of which kept_count_ are used.
  std::vector<int64_t> first_kept_;  // [segments]
  std::vector<uint16_t> kept_index_;
  std::vector<float> kept_value_;
  std::vector<uint32_t> kept_count_;  // [chunks]
  bool pending_ = false;
  SparseValues sent_;  // if pending
};

float SparseEncoder::GainFor(const RoundParameters& parameters, double norm) const {
  if (DirectionOf(options_.mode) == Direction::kPseudoGradient) {
    return 1.0f;
  }
  const double clip = options_.clip_norm > 0 && norm > options_.clip_norm ? options_.clip_norm / norm : 1.0;
  return static_cast<float>(sends_floats() ? parameters.learning_rate * clip : clip);
}

void SparseEncoder::EncodeChunk(size_t number, int64_t chunk, float gain, const float* direction, ChunkWorkspace& work) {
  const Segment& segment = plan_.segments()[number];
  const int64_t local = chunk - segment.first_chunk;
  if (segment.IsPadded(local)) {
    work.tile.at.fill(0.0f);
  }
  segment.ForEachPatch(local,
                       [&](const Patch& patch) { AddToResidual(patch, options_.beta, gain, direction, residual_.data(), work.tile); });
  Prefetch(segment, local + 1, direction);
  Prefetch(segment, local + 1, residual_.data());

  const int kept = static_cast<int>(plan_.update_shape().segments[number].max_kept);
  if (segment.transformed) {
    ForwardDct(segment.rows, segment.cols, work.tile, work.dct, work.spectrum);
    SelectLargest(absl::MakeConstSpan(work.spectrum.at.data(), segment.cols * kTileEdge), kept, segment.cols, work.select, work.selected);
  } else {
    SelectLargest(absl::MakeConstSpan(work.tile.at.data(), segment.chunk_length()), kept, 0, work.select, work.selected);
  }
  const int64_t first = FirstKept(number, chunk);
  kept_count_[chunk] = static_cast<uint32_t>(work.selected.size());
  for (size_t i = 0; i < work.selected.size(); ++i) {
    const int index = work.selected[i];
    kept_index_[first + i] = work.selected[i];
    kept_value_[first + i] =
        segment.transformed ? work.spectrum.at[index % segment.cols * kTileEdge + index / segment.cols] : work.tile.at[index];
  }
}

void SparseEncoder::Quantise() {
  sent_.scales.clear();
  sent_.chunk_begin.assign(1, 0);
  sent_.index.clear();
  sent_.value.clear();
  const int32_t max_level = sends_floats() ? 0 : MaxLevel(options_.value_bits);
  std::vector<float> values;  // of one segment
  for (size_t number = 0; number < plan_.segments().size(); ++number) {
    const Segment& segment = plan_.segments()[number];
    const int64_t end = segment.first_chunk + segment.chunk_count;
    double step = 1;
    if (!sends_floats()) {
      values.clear();
      for (int64_t chunk = segment.first_chunk; chunk < end; ++chunk) {
        const float* first = kept_value_.data() + FirstKept(number, chunk);
        values.insert(values.end(), first, first + kept_count_[chunk]);
      }
      step = static_cast<float>(ChooseStep(options_.value_bits, absl::MakeConstSpan(values)));
    }
    const size_t sent_before = sent_.index.size();
    for (int64_t chunk = segment.first_chunk; chunk < end; ++chunk) {
      const int64_t first = FirstKept(number, chunk);
      for (int64_t i = first; i < first + kept_count_[chunk]; ++i) {
        const int32_t value = sends_floats() ? std::bit_cast<int32_t>(kept_value_[i])
                              : step > 0     ? LevelOf(kept_value_[i], step, max_level)
                                             : 0;
        if (value == 0) {
          continue;
        }
        sent_.index.push_back(kept_index_[i]);
        sent_.value.push_back(value);
      }
      sent_.chunk_begin.push_back(static_cast<uint32_t>(sent_.index.size()));
    }
    sent_.scales.push_back(sent_.index.size() > sent_before ? static_cast<float>(step) : 0.0f);
  }
}

absl::StatusOr<std::string> SparseEncoder::Encode(const RoundParameters& parameters, absl::Span<const float> direction) {
  if (pending_) {
    return absl::FailedPreconditionError("the previous update is not settled");
  }
  if (direction.size() != residual_.size()) {
    return absl::InvalidArgumentError(absl::StrCat("the direction has ", direction.size(), " elements, the layout ", residual_.size()));
  }
  if (!std::isfinite(parameters.learning_rate) || parameters.learning_rate < 0) {
    return absl::InvalidArgumentError(absl::StrCat("round ", parameters.round, ": learning rate ", parameters.learning_rate));
  }
  const double norm = Norm(direction, threads_);
  if (!(norm < kMaxNorm)) {
    return absl::FailedPreconditionError(absl::StrCat("round ", parameters.round, ": the norm of the ",
                                                      DirectionOf(options_.mode) == Direction::kGradient ? "gradient" : "pseudo-gradient",
                                                      " is ", norm, "; the round is skipped"));
  }
  const float gain = GainFor(parameters, norm);
  ForEachChunk(plan_, threads_,
               [&](size_t segment, int64_t chunk, ChunkWorkspace& work) { EncodeChunk(segment, chunk, gain, direction.data(), work); });
  Quantise();
  pending_ = true;
  return EncodePayload(plan_.update_shape(), sent_);
}

void SparseEncoder::Settle(UpdateFate fate) {
  if (!std::exchange(pending_, false) || fate == UpdateFate::kNotIncluded) {
    return;
  }
  std::vector<float> as_floats(sends_floats() ? sent_.value.size() : 0);
  std::transform(sent_.value.begin(), sent_.value.begin() + as_floats.size(), as_floats.begin(),
                 [](int32_t bits) { return std::bit_cast<float>(bits); });
  ForEachChunk(plan_, threads_, [&](size_t number, int64_t chunk, ChunkWorkspace& work) {
    const Segment& segment = plan_.segments()[number];
    const int64_t local = chunk - segment.first_chunk;
    const auto index = IndexOf(sent_, chunk);
    if (index.empty()) {
      return;
    }
    const float scale = sent_.scales[number];
    if (!segment.transformed) {
      ForEachParameter(segment, local, index, ValueOf(sent_, chunk),
                       [&](int64_t at, int32_t q) { residual_[at] -= scale * static_cast<float>(q); });
      return;
    }
    Prefetch(segment, local + 1, residual_.data());
    if (sends_floats()) {
      InverseDct(segment.rows, segment.cols, index, absl::MakeConstSpan(as_floats).subspan(sent_.chunk_begin[chunk], index.size()),
                 work.dct, work.tile);
    } else {
      InverseDct(segment.rows, segment.cols, index, ValueOf(sent_, chunk), work.dct, work.tile);
    }
    segment.ForEachPatch(local, [&](const Patch& patch) { SubtractFromResidual(patch, scale, work.tile, residual_.data()); });
  });
}

absl::Status SparseEncoder::RestoreState(absl::string_view state) {
  TRIBUTARY_ASSIGN_OR_RETURN(const absl::string_view body, OpenState(Kind(), layout_, state));
  const size_t residual_bytes = residual_.size() * sizeof(float);
  if (body.size() < residual_bytes) {
    return absl::DataLossError("saved encoder state: shorter than the layout's residual");
  }
  const absl::string_view payload = body.substr(0, body.size() - residual_bytes);
  if (!payload.empty()) {
    SparseValues sent;
    const absl::Status decoded = DecodePayload(plan_.update_shape(), payload, sent);
    if (!decoded.ok()) {
      return absl::DataLossError(absl::StrCat("saved encoder state: pending update: ", decoded.message()));
    }
    sent_ = std::move(sent);
  }
  if (residual_bytes > 0) {
    std::memcpy(residual_.data(), body.data() + payload.size(), residual_bytes);
  }
  pending_ = !payload.empty();
  return absl::OkStatus();
}

}  // namespace

std::unique_ptr<UpdateEncoder> MakeSparseEncoder(const OptimizerOptions& options, const Layout& layout, int threads) {
  return std::make_unique<SparseEncoder>(options, layout, threads);
}

PayloadBounds SparsePayloadBounds(const OptimizerOptions& options, const Layout& layout) {
  const ChunkPlan plan(options, layout);
  return {MaxPayloadBytes(plan.update_shape()), MaxPayloadBytes(plan.commit_shape())};
}

}  // namespace tributary::optim
