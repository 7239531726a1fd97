// Worker-side and server-side residuals as bytes that check themselves: what SaveState and RestoreState of the sparse modes exchange.
//
// Format: "TRBS", version (1 byte), layout hash (32), length of kind (1) and kind, length of body (8) and body, CRC-32C of all before (4);
// integers little-endian.
#ifndef TRIBUTARY_OPTIM_SEALED_STATE_H_
#define TRIBUTARY_OPTIM_SEALED_STATE_H_

#include <initializer_list>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "optim/layout.h"

namespace tributary::optim {

// `kind` (at most 255 bytes) says what the body holds and in which units.
std::string SealState(absl::string_view kind, const Layout& layout, absl::string_view body);
// The body is `parts`, one after the other: what is long is copied only once.
std::string SealState(absl::string_view kind, const Layout& layout, std::initializer_list<absl::string_view> parts);

// The body, a view into `state`. DataLoss: truncated, damaged, of another layout or of another kind.
absl::StatusOr<absl::string_view> OpenState(absl::string_view kind, const Layout& layout, absl::string_view state);

}  // namespace tributary::optim

#endif  // TRIBUTARY_OPTIM_SEALED_STATE_H_
