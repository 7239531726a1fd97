#include "optim/dense_payload.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <iterator>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "optim/adamw.h"
#include "optim/parallel.h"
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
  return kDenseHeaderSize +
         static_cast<uint64_t>(LiveSize(CutLive(layout, INT64_MAX))) * sizeof(float);  // uncut: of models far too large, too
}

bool AreCanonicalValues(const char* bytes, int64_t size) {
  return AllCanonical(bytes, size);
}

absl::Status CheckDenseLength(absl::Span<const LivePiece> pieces, uint64_t bytes) {
  const uint64_t expected = kDenseHeaderSize + static_cast<uint64_t>(LiveSize(pieces)) * sizeof(float);
  if (bytes == expected) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat("dense payload: ", bytes, " bytes; this layout takes ", expected));
}

absl::Status CheckDensePayload(const Layout& layout, absl::Span<const LivePiece> pieces, const StoredBytes& payload, int threads) {
  std::string scratch;
  TRIBUTARY_ASSIGN_OR_RETURN(const absl::string_view head, payload.Slice(0, std::min(payload.size(), kDenseHeaderSize), scratch));
  TRIBUTARY_RETURN_IF_ERROR(CheckDenseVersion(head));
  TRIBUTARY_RETURN_IF_ERROR(CheckDenseLength(pieces, payload.size()));
  return ForEachPiece(pieces, payload, threads, [&layout](const LivePiece& piece, const char* values) {
    if (AllCanonical(values, piece.size)) {
      return absl::OkStatus();
    }
    int64_t i = 0;
    while (AllCanonical(values + i * sizeof(float), 1)) {
      ++i;
    }
    return absl::InvalidArgumentError(absl::StrCat("dense payload: block ", BlockAt(layout, piece.theta + i), ": value ",
                                                   LoadFloat(values + i * sizeof(float)), " is not finite, beyond ", kDenseValueBound,
                                                   ", or a negative zero"));
  });
}

absl::StatusOr<double> NormOfDensePayload(absl::Span<const LivePiece> pieces, const StoredBytes& payload) {
  double squares = 0;
  TRIBUTARY_RETURN_IF_ERROR(ForEachPiece(pieces, payload, 1, [&squares](const LivePiece& piece, const char* values) {
    float aligned[1 << 12];
    int64_t size = 0;
    for (int64_t begin = 0; begin < piece.size; begin += size) {
      size = std::min<int64_t>(std::size(aligned), piece.size - begin);
      std::memcpy(aligned, values + begin * sizeof(float), size * sizeof(float));
      squares += SquaredNorm(absl::MakeConstSpan(aligned, size));
    }
    return absl::OkStatus();
  }));
  return std::sqrt(squares);
}

absl::Status ForEachPiece(absl::Span<const LivePiece> pieces, const StoredBytes& payload, int threads,
                          absl::FunctionRef<absl::Status(const LivePiece& piece, const char* values)> visit) {
  return TryParallelFor<std::string>(threads, static_cast<int64_t>(pieces.size()), [&](int64_t p, std::string& scratch) -> absl::Status {
    const LivePiece& piece = pieces[p];
    TRIBUTARY_ASSIGN_OR_RETURN(const absl::string_view values,
                               payload.Slice(kDenseHeaderSize + piece.live * sizeof(float), piece.size * sizeof(float), scratch));
    return visit(piece, values.data());
  });
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
