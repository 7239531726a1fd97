// The worker's half of the dense modes.
#include <cmath>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "common/status_macros.h"
#include "optim/adamw.h"
#include "optim/dense_modes.h"
#include "optim/dense_payload.h"
#include "optim/empty_state.h"
#include "optim/live_pieces.h"
#include "optim/sign_payload.h"
#include "optim/simd.h"

namespace tributary::optim {
namespace {

// Adding +0 turns -0 into +0 and leaves every other value.
TRIBUTARY_SIMD_CLONES
void PackScaled(const float* __restrict values, float factor, int64_t size, char* __restrict bytes) {
  for (int64_t i = 0; i < size; ++i) {
    const float value = values[i] * factor + 0.0f;
    std::memcpy(bytes + i * sizeof(value), &value, sizeof(value));
  }
}

// Nothing is left behind when everything is sent, so there is no residual; what differs by mode is only what is packed.
class DenseEncoder : public UpdateEncoder {
 public:
  DenseEncoder(const OptimizerOptions& options, const Layout& layout, int64_t longest_piece)
      : options_(options), layout_(layout), pieces_(CutLive(layout, longest_piece)) {}

  absl::StatusOr<std::string> Encode(const RoundParameters& parameters, absl::Span<const float> direction) final {
    if (pending_) {
      return absl::FailedPreconditionError("the previous update is not settled");
    }
    if (direction.size() != static_cast<size_t>(layout_.size())) {
      return absl::InvalidArgumentError(absl::StrCat("the direction has ", direction.size(), " elements, the layout ", layout_.size()));
    }
    double squares = 0;
    for (const LivePiece& piece : pieces_) {
      squares += SquaredNorm(direction.subspan(piece.theta, piece.size));
    }
    if (!std::isfinite(squares)) {
      return absl::FailedPreconditionError("NaN or infinity in the direction; the round is skipped");
    }
    TRIBUTARY_ASSIGN_OR_RETURN(std::string payload, Pack(std::sqrt(squares), direction));
    pending_ = true;
    return payload;
  }
  void Settle(UpdateFate) final { pending_ = false; }
  double ResidualNorm() const final { return 0; }
  std::string SaveState() const final { return EmptyState(pending_ ? kPendingOwner : kOwner, options_, layout_); }
  absl::Status RestoreState(absl::string_view state) final {
    const bool pending = state == EmptyState(kPendingOwner, options_, layout_);
    if (!pending) {
      TRIBUTARY_RETURN_IF_ERROR(CheckEmptyState(kOwner, options_, layout_, state));
    }
    pending_ = pending;
    return absl::OkStatus();
  }

 protected:
  virtual absl::StatusOr<std::string> Pack(double norm, absl::Span<const float> direction) = 0;

  const OptimizerOptions options_;
  const Layout& layout_;
  const std::vector<LivePiece> pieces_;

 private:
  static constexpr absl::string_view kOwner = "encoder";
  static constexpr absl::string_view kPendingOwner = "encoder with a pending update";
  bool pending_ = false;
};

class ValueEncoder final : public DenseEncoder {
 public:
  ValueEncoder(const OptimizerOptions& options, const Layout& layout) : DenseEncoder(options, layout, kValuePiece) {}

 protected:
  absl::StatusOr<std::string> Pack(double norm, absl::Span<const float> direction) override {
    // Gradients are clipped here; those of the local steps behind a pseudo-gradient have been.
    const float clip = DirectionOf(options_.mode) == Direction::kGradient ? options_.clip_norm : 0.0f;
    const float factor = clip > 0 && norm > clip ? static_cast<float>(clip / norm) : 1.0f;
    std::string payload(DensePayloadBytes(layout_), '\0');
    payload[0] = static_cast<char>(kDenseVersion);
    for (const LivePiece& piece : pieces_) {
      char* bytes = payload.data() + kDenseHeaderSize + piece.live * sizeof(float);
      PackScaled(direction.data() + piece.theta, factor, piece.size, bytes);
      if (!AreCanonicalValues(bytes, piece.size)) {
        return absl::FailedPreconditionError(absl::StrCat("a value of the direction is beyond ", kDenseValueBound,
                                                          " in magnitude, near block ", BlockAt(layout_, piece.theta),
                                                          "; the round is skipped; set clip_norm or lower the learning rate"));
      }
    }
    return payload;
  }
};

class SignEncoder final : public DenseEncoder {
 public:
  SignEncoder(const OptimizerOptions& options, const Layout& layout) : DenseEncoder(options, layout, kSignPiece) {}

 protected:
  // Clipping would not change a sign.
  absl::StatusOr<std::string> Pack(double, absl::Span<const float> direction) override {
    std::string payload(1, static_cast<char>(kDenseVersion));
    for (const LivePiece& piece : pieces_) {
      const float* values = direction.data() + piece.theta;
      AppendSigns(
          piece.size, [values](int64_t i) { return (values[i] > 0) - (values[i] < 0); }, payload);
    }
    return payload;
  }
};

}  // namespace

std::unique_ptr<UpdateEncoder> MakeValueEncoder(const OptimizerOptions& options, const Layout& layout, int) {
  return std::make_unique<ValueEncoder>(options, layout);
}

std::unique_ptr<UpdateEncoder> MakeSignEncoder(const OptimizerOptions& options, const Layout& layout, int) {
  return std::make_unique<SignEncoder>(options, layout);
}

PayloadBounds ValuePayloadBounds(const OptimizerOptions&, const Layout& layout) {
  const uint64_t bytes = DensePayloadBytes(layout);
  return {bytes, bytes};
}

PayloadBounds SignPayloadBounds(const OptimizerOptions&, const Layout& layout) {
  const uint64_t bytes = MaxSignPayloadBytes(layout);
  return {bytes, bytes};
}

}  // namespace tributary::optim
