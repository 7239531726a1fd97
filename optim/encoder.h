// The worker's half of a mode: what becomes of a gradient (or pseudo-gradient) before it is sent, and after the receipt.
#ifndef TRIBUTARY_OPTIM_ENCODER_H_
#define TRIBUTARY_OPTIM_ENCODER_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "optim/layout.h"
#include "optim/options.h"

namespace tributary::optim {

// What became of an update: part of its round's commit, or not (late, rejected, lost).
enum class UpdateFate { kIncluded, kNotIncluded };

// Owns the residual (momentum with what was included removed). Not thread-safe: one caller at a time.
class UpdateEncoder {
 public:
  virtual ~UpdateEncoder() = default;

  // Adds `direction` [layout.size()] to the residual (after clipping and decay as the mode says) and encodes the update of this
  // round: canonical bytes, the same for the same residual. What is sent is remembered until Settle.
  // FailedPrecondition: NaN or infinity in `direction`; the residual is untouched, skip the round.
  // FailedPrecondition: the previous update is not settled.
  virtual absl::StatusOr<std::string> Encode(const RoundParameters& parameters, absl::Span<const float> direction) = 0;

  // Ends the round of the last Encode. If the update was included, exactly what its payload decodes to leaves the residual; if
  // not, everything stays and nothing is lost. No effect if nothing is pending.
  virtual void Settle(UpdateFate fate) = 0;

  // L2 norm of the residual, for the metrics. 0 for modes without one.
  virtual double ResidualNorm() const = 0;

  // The residual and what is pending, to be kept over a restart: an encoder of the same options and layout that restores it goes on with
  // the same bits, Settle included.
  virtual std::string SaveState() const = 0;
  // DataLoss: not a state of this layout and mode, or damaged; the encoder is unchanged.
  virtual absl::Status RestoreState(absl::string_view state) = 0;
};

// `layout` must outlive the encoder. `threads` >= 1 share its work; what it makes does not depend on them. InvalidArgument as
// Validate(options).
absl::StatusOr<std::unique_ptr<UpdateEncoder>> MakeUpdateEncoder(const OptimizerOptions& options, const Layout& layout, int threads = 1);

// Longest payloads, in bytes.
struct PayloadBounds {
  uint64_t update = 0;
  uint64_t commit = 0;
};

// What no payload of the mode for this layout exceeds, whatever the residuals hold: to check before anything is allocated, and to promise.
PayloadBounds MaxPayloadBytes(const OptimizerOptions& options, const Layout& layout);

}  // namespace tributary::optim

#endif  // TRIBUTARY_OPTIM_ENCODER_H_
