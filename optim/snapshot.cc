#include "optim/snapshot.h"

#include <algorithm>
#include <cstring>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "common/bytes.h"
#include "common/checksum.h"
#include "common/status_macros.h"

namespace tributary::optim {
namespace {

constexpr absl::string_view kMagic = "TRIBSNAP";
constexpr uint32_t kVersion = 1;
constexpr size_t kHeaderSize = 8 + 4 + 32 + 8 + 4 + 8;
constexpr size_t kChecksumSize = 32;

absl::Status Damaged(absl::string_view what) {
  return absl::DataLossError(absl::StrCat("snapshot: ", what));
}

std::string Header(const Layout& layout, const ReplicaState& state) {
  std::string bytes(kMagic);
  AppendLittleEndian<uint32_t>(kVersion, bytes);
  absl::StrAppend(&bytes, AsBytes(layout.hash()));
  AppendLittleEndian<uint64_t>(state.round, bytes);
  AppendLittleEndian<uint32_t>(static_cast<uint32_t>(state.slots.size()), bytes);
  AppendLittleEndian<uint64_t>(state.theta.size(), bytes);
  return bytes;
}

// Whether a snapshot that says `fields` of itself, behind its version, with `content` bytes behind them, is one of this layout and mode.
absl::Status CheckFields(absl::string_view fields, uint64_t content, const Layout& layout, uint32_t slots, uint64_t& round) {
  Digest layout_hash{};
  uint32_t slot_count = 0;
  uint64_t elements = 0;
  ByteReader reader(fields);
  reader.Read(layout_hash);
  reader.Read(round);
  reader.Read(slot_count);
  reader.Read(elements);
  if (layout_hash != layout.hash()) {
    return Damaged("it belongs to another model layout");
  }
  if (slot_count != slots) {
    return Damaged(absl::StrCat("it holds ", slot_count, " optimiser slots; this mode keeps ", slots));
  }
  // The layout bounds `elements` to 2^40, so that the product cannot overflow.
  if (elements != static_cast<uint64_t>(layout.size()) || content != (1 + uint64_t{slot_count}) * elements * sizeof(float)) {
    return Damaged(absl::StrCat("it declares ", elements, " elements and has ", content, " bytes of them; the layout has ", layout.size(),
                                " elements"));
  }
  return absl::OkStatus();
}

// Reads the bytes from `offset` on into `values`, and adds them to `hasher`.
absl::Status ReadFloats(const StoredBytes& bytes, uint64_t& offset, std::string& scratch, Sha256Hasher& hasher, absl::Span<float> values) {
  while (!values.empty()) {
    const size_t count = std::min(values.size(), static_cast<size_t>(kSliceBytes / sizeof(float)));
    TRIBUTARY_ASSIGN_OR_RETURN(const absl::string_view slice, bytes.Slice(offset, count * sizeof(float), scratch));
    hasher.Update(slice);
    std::memcpy(values.data(), slice.data(), slice.size());
    offset += slice.size();
    values.remove_prefix(count);
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status WriteSnapshot(const Layout& layout, const ReplicaState& state, ByteSink sink) {
  Sha256Hasher hasher;
  const auto write = [&](absl::string_view bytes) -> absl::Status {
    for (; !bytes.empty(); bytes.remove_prefix(std::min(bytes.size(), size_t{kSliceBytes}))) {
      const absl::string_view piece = bytes.substr(0, kSliceBytes);
      hasher.Update(piece);
      TRIBUTARY_RETURN_IF_ERROR(sink(piece));
    }
    return absl::OkStatus();
  };
  TRIBUTARY_RETURN_IF_ERROR(write(Header(layout, state)));
  TRIBUTARY_RETURN_IF_ERROR(write(AsBytes(state.theta)));
  for (const std::vector<float>& slot : state.slots) {
    TRIBUTARY_RETURN_IF_ERROR(write(AsBytes(slot)));
  }
  return sink(AsBytes(hasher.Finish()));
}

std::string EncodeSnapshot(const Layout& layout, const ReplicaState& state) {
  std::string bytes;
  bytes.reserve(kHeaderSize + (1 + state.slots.size()) * state.theta.size() * sizeof(float) + kChecksumSize);
  WriteSnapshot(layout, state, [&bytes](absl::string_view piece) {
    absl::StrAppend(&bytes, piece);
    return absl::OkStatus();
  }).IgnoreError();  // a string takes every piece
  return bytes;
}

absl::StatusOr<ReplicaState> ReadSnapshot(const StoredBytes& bytes, const Layout& layout, int slots) {
  if (bytes.size() < kHeaderSize + kChecksumSize) {
    return Damaged(absl::StrCat("truncated: ", bytes.size(), " bytes"));
  }
  std::string scratch;
  TRIBUTARY_ASSIGN_OR_RETURN(const absl::string_view slice, bytes.Slice(0, kHeaderSize, scratch));
  const std::string header(slice);
  if (!absl::StartsWith(header, kMagic)) {
    return Damaged("it does not begin like a snapshot");
  }
  ByteReader reader(absl::string_view(header).substr(kMagic.size()));
  uint32_t version = 0;
  reader.Read(version);
  if (version != kVersion) {
    return Damaged(absl::StrCat("version ", version, " is unknown; this program reads version ", kVersion));
  }
  const uint64_t end = bytes.size() - kChecksumSize;
  Sha256Hasher hasher;
  hasher.Update(header);
  uint64_t offset = kHeaderSize;
  ReplicaState state;
  // Only what agrees with our own layout decides how much memory to take; but of a damaged snapshot no field is to be believed, and so the
  // checksum comes first.
  const absl::Status fits = CheckFields(reader.rest(), end - kHeaderSize, layout, static_cast<uint32_t>(slots), state.round);
  if (fits.ok()) {
    state.theta.resize(layout.size());
    state.slots.assign(slots, std::vector<float>(layout.size()));
    TRIBUTARY_RETURN_IF_ERROR(ReadFloats(bytes, offset, scratch, hasher, absl::MakeSpan(state.theta)));
    for (std::vector<float>& slot : state.slots) {
      TRIBUTARY_RETURN_IF_ERROR(ReadFloats(bytes, offset, scratch, hasher, absl::MakeSpan(slot)));
    }
  }
  while (offset < end) {
    TRIBUTARY_ASSIGN_OR_RETURN(const absl::string_view rest, bytes.Slice(offset, std::min(kSliceBytes, end - offset), scratch));
    hasher.Update(rest);
    offset += rest.size();
  }
  TRIBUTARY_ASSIGN_OR_RETURN(const absl::string_view checksum, bytes.Slice(end, kChecksumSize, scratch));
  if (AsBytes(hasher.Finish()) != checksum) {
    return Damaged("its checksum does not match: truncated or damaged");
  }
  TRIBUTARY_RETURN_IF_ERROR(fits);
  return state;
}

absl::StatusOr<ReplicaState> DecodeSnapshot(absl::string_view bytes, const Layout& layout, int slots) {
  return ReadSnapshot(BorrowedBytes(bytes), layout, slots);
}

}  // namespace tributary::optim
