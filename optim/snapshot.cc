#include "optim/snapshot.h"

#include <cstring>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/bytes.h"
#include "common/checksum.h"

namespace tributary::optim {
namespace {

constexpr absl::string_view kMagic = "TRIBSNAP";
constexpr uint32_t kVersion = 1;
constexpr size_t kHeaderSize = 8 + 4 + 32 + 8 + 4 + 8;
constexpr size_t kChecksumSize = 32;

absl::Status Damaged(absl::string_view what) {
  return absl::DataLossError(absl::StrCat("snapshot: ", what));
}

std::vector<float> TakeFloats(absl::string_view bytes, uint64_t index, uint64_t elements) {
  std::vector<float> values(elements);
  if (elements > 0) {
    std::memcpy(values.data(), bytes.data() + index * elements * sizeof(float), elements * sizeof(float));
  }
  return values;
}

}  // namespace

std::string EncodeSnapshot(const Layout& layout, const ReplicaState& state) {
  std::string bytes;
  bytes.reserve(kHeaderSize + (1 + state.slots.size()) * state.theta.size() * sizeof(float) + kChecksumSize);
  bytes.append(kMagic.data(), kMagic.size());
  AppendLittleEndian<uint32_t>(kVersion, bytes);
  bytes.append(AsBytes(layout.hash()).data(), layout.hash().size());
  AppendLittleEndian<uint64_t>(state.round, bytes);
  AppendLittleEndian<uint32_t>(static_cast<uint32_t>(state.slots.size()), bytes);
  AppendLittleEndian<uint64_t>(state.theta.size(), bytes);
  AppendFloats(state.theta, bytes);
  for (const std::vector<float>& slot : state.slots) {
    AppendFloats(slot, bytes);
  }
  const Digest checksum = Sha256(bytes);
  bytes.append(AsBytes(checksum).data(), checksum.size());
  return bytes;
}

absl::StatusOr<ReplicaState> DecodeSnapshot(absl::string_view bytes, const Layout& layout, int slots) {
  if (bytes.size() < kHeaderSize + kChecksumSize) {
    return Damaged(absl::StrCat("truncated: ", bytes.size(), " bytes"));
  }
  if (bytes.substr(0, kMagic.size()) != kMagic) {
    return Damaged("it does not begin like a snapshot");
  }
  const absl::string_view content = bytes.substr(0, bytes.size() - kChecksumSize);
  ByteReader reader(content.substr(kMagic.size()));
  uint32_t version = 0;
  Digest layout_hash{};
  ReplicaState state;
  uint32_t slot_count = 0;
  uint64_t elements = 0;
  reader.Read(version);
  if (version != kVersion) {
    return Damaged(absl::StrCat("version ", version, " is unknown; this program reads version ", kVersion));
  }
  if (AsBytes(Sha256(content)) != bytes.substr(content.size())) {
    return Damaged("its checksum does not match: truncated or damaged");
  }
  reader.Read(layout_hash);
  reader.Read(state.round);
  reader.Read(slot_count);
  reader.Read(elements);
  if (layout_hash != layout.hash()) {
    return Damaged("it belongs to another model layout");
  }
  if (slot_count != static_cast<uint32_t>(slots)) {
    return Damaged(absl::StrCat("it holds ", slot_count, " optimiser slots; this mode keeps ", slots));
  }
  // The layout bounds `elements` to 2^40, so that the product cannot overflow.
  if (elements != static_cast<uint64_t>(layout.size()) || reader.rest().size() != (1 + uint64_t{slot_count}) * elements * sizeof(float)) {
    return Damaged(absl::StrCat("it declares ", elements, " elements and has ", reader.rest().size(), " bytes of them; the layout has ",
                                layout.size(), " elements"));
  }
  state.theta = TakeFloats(reader.rest(), 0, elements);
  for (uint32_t slot = 0; slot < slot_count; ++slot) {
    state.slots.push_back(TakeFloats(reader.rest(), 1 + slot, elements));
  }
  return state;
}

}  // namespace tributary::optim
