#include "optim/dense_payload.h"

#include <bit>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "optim/simd.h"

namespace tributary::optim {
namespace {

TRIBUTARY_SIMD_CLONES
bool AllCanonical(const char* __restrict bytes, int64_t size) {
  const uint32_t bound = std::bit_cast<uint32_t>(kDenseValueBound);
  uint32_t bad = 0;
  for (int64_t i = 0; i < size; ++i) {
    uint32_t bits;
    std::memcpy(&bits, bytes + i * sizeof(bits), sizeof(bits));
    bad |= static_cast<uint32_t>((bits & 0x7fffffffu) > bound) | static_cast<uint32_t>(bits == 0x80000000u);
  }
  return bad == 0;
}

float LoadFloat(const char* bytes) {
  float value;
  std::memcpy(&value, bytes, sizeof(value));
  return value;
}

}  // namespace

uint64_t DensePayloadBytes(const Layout& layout) {
  return kDenseHeaderSize + static_cast<uint64_t>(LiveSize(CutLive(layout, kValuePiece))) * sizeof(float);
}

bool AreCanonicalValues(const char* bytes, int64_t size) {
  return AllCanonical(bytes, size);
}

absl::Status CheckDensePayload(const Layout& layout, absl::Span<const LivePiece> pieces, absl::string_view payload) {
  TRIBUTARY_RETURN_IF_ERROR(CheckDenseVersion(payload));
  const uint64_t expected = kDenseHeaderSize + static_cast<uint64_t>(LiveSize(pieces)) * sizeof(float);
  if (payload.size() != expected) {
    return absl::InvalidArgumentError(absl::StrCat("dense payload: ", payload.size(), " bytes; this layout takes ", expected));
  }
  for (const LivePiece& piece : pieces) {
    const char* bytes = payload.data() + kDenseHeaderSize + piece.live * sizeof(float);
    if (AllCanonical(bytes, piece.size)) {
      continue;
    }
    for (int64_t i = 0; i < piece.size; ++i, bytes += sizeof(float)) {
      if (AllCanonical(bytes, 1)) {
        continue;
      }
      return absl::InvalidArgumentError(absl::StrCat("dense payload: block ", BlockAt(layout, piece.theta + i), ": value ",
                                                     LoadFloat(bytes), " is not finite, beyond ", kDenseValueBound,
                                                     ", or a negative zero"));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckDenseVersion(absl::string_view payload) {
  if (payload.empty()) {
    return absl::InvalidArgumentError("dense payload: empty");
  }
  const uint8_t version = static_cast<uint8_t>(payload[0]);
  if (version == kDenseVersion) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("dense payload: version ", version, " is unknown; this program reads version ", kDenseVersion));
}

}  // namespace tributary::optim
