#include "optim/encoder.h"

#include "common/status_macros.h"
#include "optim/modes.h"

namespace tributary::optim {

absl::StatusOr<std::unique_ptr<UpdateEncoder>> MakeUpdateEncoder(const OptimizerOptions& options, const Layout& layout, int threads) {
  TRIBUTARY_RETURN_IF_ERROR(Validate(options));
  return TraitsOf(options.mode).make_encoder(options, layout, threads);
}

PayloadBounds MaxPayloadBytes(const OptimizerOptions& options, const Layout& layout) {
  return TraitsOf(options.mode).bounds(options, layout);
}

}  // namespace tributary::optim
