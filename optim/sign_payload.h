// The bytes of `signsgd`'s updates and commits: a version, then the signs of the live parameters, piece by piece. Internal.
// Format: docs/reference/wire_format.md, "Sign payload".
#ifndef TRIBUTARY_OPTIM_SIGN_PAYLOAD_H_
#define TRIBUTARY_OPTIM_SIGN_PAYLOAD_H_

#include <bit>
#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "optim/layout.h"
#include "optim/live_pieces.h"

namespace tributary::optim {

// Parameters of a piece, but for the last before a frozen block or the end.
inline constexpr int64_t kSignPiece = 4096;

// First byte of a piece: what its signs are. Exactly one kind fits a piece, so the encoding is canonical.
enum SignKind : uint8_t {
  kAllZero = 0,   // nothing follows
  kNoneZero = 1,  // one bit per element: 1 is negative
  kMixed = 2,     // one bit per element: 1 is non-zero; then one bit per non-zero element: 1 is negative
};

// One piece inside a payload that has been checked; points into it.
struct SignPiece {
  SignKind kind = kAllZero;
  const char* present = nullptr;   // kMixed
  const char* negative = nullptr;  // kNoneZero, kMixed
};

// No payload of this layout is longer.
uint64_t MaxSignPayloadBytes(const Layout& layout);

// Appends one piece of `size` signs in {-1, 0, +1}; get(i) gives them.
template <typename Get>
void AppendSigns(int64_t size, const Get& get, std::string& out);

// Finds `pieces`, which are all of the layout, in `payload` and checks everything about them. `found`, if given, has room for all.
// InvalidArgument names the piece.
absl::Status ParseSigns(absl::Span<const LivePiece> pieces, absl::string_view payload, SignPiece* found);

// Calls visit(i, sign) for each of the piece's `size` elements whose sign is not zero.
template <typename Visit>
void ForEachSign(const SignPiece& piece, int64_t size, const Visit& visit);

// Implementation only below.

// Appends the bitmap of `bits`, least significant bit first, zero bits at the end.
void AppendBitmap(absl::Span<const uint8_t> bits, std::string& out);

template <typename Get>
void AppendSigns(int64_t size, const Get& get, std::string& out) {
  uint8_t present[kSignPiece];
  uint8_t negative[kSignPiece];
  size_t count = 0;
  for (int64_t i = 0; i < size; ++i) {
    const int sign = get(i);
    present[i] = sign != 0 ? 1 : 0;
    negative[count] = sign < 0 ? 1 : 0;
    count += present[i];
  }
  const SignKind kind = count == 0 ? kAllZero : count == static_cast<size_t>(size) ? kNoneZero : kMixed;
  out.push_back(static_cast<char>(kind));
  if (kind == kMixed) {
    AppendBitmap(absl::MakeConstSpan(present, size), out);
  }
  AppendBitmap(absl::MakeConstSpan(negative, count), out);
}

template <typename Visit>
void ForEachSign(const SignPiece& piece, int64_t size, const Visit& visit) {
  const auto sign_of = [&](uint64_t i) { return ((static_cast<uint8_t>(piece.negative[i >> 3]) >> (i & 7)) & 1) != 0 ? -1 : 1; };
  if (piece.kind == kNoneZero) {
    for (int64_t i = 0; i < size; ++i) {
      visit(i, sign_of(i));
    }
  } else if (piece.kind == kMixed) {
    uint64_t next = 0;
    for (int64_t begin = 0; begin < size; begin += 8) {
      for (uint32_t bits = static_cast<uint8_t>(piece.present[begin / 8]); bits != 0; bits &= bits - 1) {
        visit(begin + std::countr_zero(bits), sign_of(next++));
      }
    }
  }
}

}  // namespace tributary::optim

#endif  // TRIBUTARY_OPTIM_SIGN_PAYLOAD_H_
