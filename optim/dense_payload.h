// The bytes of a dense update or commit: a version, then every live parameter's value as little-endian fp32. Internal.
// Format: docs/reference/wire_format.md, "Dense payload".
#ifndef TRIBUTARY_OPTIM_DENSE_PAYLOAD_H_
#define TRIBUTARY_OPTIM_DENSE_PAYLOAD_H_

#include <cstdint>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/stored_bytes.h"
#include "optim/layout.h"
#include "optim/live_pieces.h"

namespace tributary::optim {

// Of dense and of sign payloads.
inline constexpr uint8_t kDenseVersion = 1;
inline constexpr uint64_t kDenseHeaderSize = 1;

// Largest magnitude of a value.
inline constexpr float kDenseValueBound = 1024.0f;

// A piece of values: long enough to be worth a thread's attention and the opening of a file, short enough to stay in a thread's cache.
inline constexpr int64_t kValuePiece = 1 << 16;

// Every payload of this layout has so many bytes.
uint64_t DensePayloadBytes(const Layout& layout);

// Whether the `size` values at `bytes` are finite, within the bound, and none is the second zero.
bool AreCanonicalValues(const char* bytes, int64_t size);

// InvalidArgument: another length than that of `pieces`, which are all of a layout.
absl::Status CheckDenseLength(absl::Span<const LivePiece> pieces, uint64_t bytes);

// InvalidArgument: another version, or another length than that of `pieces`, which are all of `layout`; or a value that is not canonical,
// with its block. Errors of the storage.
absl::Status CheckDensePayload(const Layout& layout, absl::Span<const LivePiece> pieces, const StoredBytes& payload, int threads = 1);

// The L2 norm of a payload of the right length, in an order that depends on `pieces` alone. Errors of the storage.
absl::StatusOr<double> NormOfDensePayload(absl::Span<const LivePiece> pieces, const StoredBytes& payload);

// Calls visit(piece, its values) for each piece of a payload of the right length, from `threads` threads at once. The values are not
// aligned. Returns the first error, of the storage or of `visit`; pieces behind it may not have been visited.
absl::Status ForEachPiece(absl::Span<const LivePiece> pieces, const StoredBytes& payload, int threads,
                          absl::FunctionRef<absl::Status(const LivePiece& piece, const char* values)> visit);

// InvalidArgument: empty, or another version.
absl::Status CheckDenseVersion(absl::string_view payload);

}  // namespace tributary::optim

#endif  // TRIBUTARY_OPTIM_DENSE_PAYLOAD_H_
