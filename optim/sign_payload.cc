#include "optim/sign_payload.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "optim/dense_payload.h"

namespace tributary::optim {
namespace {

uint64_t BitmapBytes(uint64_t bits) {
  return (bits + 7) / 8;
}

// Whether the bits after the first `bits` of a bitmap are zero.
bool PaddingIsZero(const char* bitmap, uint64_t bits) {
  return bits % 8 == 0 || static_cast<uint8_t>(bitmap[bits / 8]) >> (bits % 8) == 0;
}

uint64_t CountBits(const char* bitmap, uint64_t bits) {
  uint64_t count = 0;
  for (uint64_t byte = 0; byte < BitmapBytes(bits); ++byte) {
    count += std::popcount(static_cast<uint8_t>(bitmap[byte]));
  }
  return count;
}

}  // namespace

uint64_t MaxSignPayloadBytes(const Layout& layout) {
  uint64_t bytes = kDenseHeaderSize;
  // A mixed piece has at least one zero, whose sign is not sent.
  const auto most = [](int64_t size) { return size == 0 ? 0 : 1 + BitmapBytes(size) + BitmapBytes(size - 1); };
  // Not piece by piece: it is asked of models that are far too large.
  for (const LivePiece& stretch : CutLive(layout, INT64_MAX)) {
    bytes += static_cast<uint64_t>(stretch.size / kSignPiece) * most(kSignPiece) + most(stretch.size % kSignPiece);
  }
  return bytes;
}

absl::Status ParseSigns(absl::Span<const LivePiece> pieces, absl::string_view payload, SignPiece* found) {
  TRIBUTARY_RETURN_IF_ERROR(CheckDenseVersion(payload));
  absl::string_view rest = payload.substr(kDenseHeaderSize);
  for (size_t p = 0; p < pieces.size(); ++p) {
    const uint64_t size = pieces[p].size;
    auto invalid = [p](absl::string_view what) { return absl::InvalidArgumentError(absl::StrCat("sign payload, piece ", p, ": ", what)); };
    if (rest.empty()) {
      return invalid("truncated");
    }
    if (static_cast<uint8_t>(rest[0]) > kMixed) {
      return invalid(absl::StrCat("kind ", static_cast<uint8_t>(rest[0]), " is unknown"));
    }
    SignPiece piece;
    piece.kind = static_cast<SignKind>(rest[0]);
    rest.remove_prefix(1);
    uint64_t count = piece.kind == kAllZero ? 0 : size;
    if (piece.kind == kMixed) {
      if (rest.size() < BitmapBytes(size)) {
        return invalid("truncated");
      }
      piece.present = rest.data();
      count = CountBits(piece.present, size);
      if (!PaddingIsZero(piece.present, size)) {
        return invalid("padding bits are not zero");
      }
      if (count == 0 || count == size) {
        return invalid("its kind says mixed, but it is not");
      }
      rest.remove_prefix(BitmapBytes(size));
    }
    if (rest.size() < BitmapBytes(count)) {
      return invalid("truncated");
    }
    piece.negative = rest.data();
    if (!PaddingIsZero(piece.negative, count)) {
      return invalid("padding bits are not zero");
    }
    rest.remove_prefix(BitmapBytes(count));
    if (found != nullptr) {
      found[p] = piece;
    }
  }
  if (!rest.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("sign payload: ", rest.size(), " trailing bytes"));
  }
  return absl::OkStatus();
}

void AppendBitmap(absl::Span<const uint8_t> bits, std::string& out) {
  for (size_t i = 0; i < bits.size(); i += 8) {
    uint8_t byte = 0;
    for (size_t j = 0; j < std::min<size_t>(8, bits.size() - i); ++j) {
      byte |= static_cast<uint8_t>(bits[i + j] << j);
    }
    out.push_back(static_cast<char>(byte));
  }
}

}  // namespace tributary::optim
