#include "optim/sealed_state.h"

#include "absl/strings/str_cat.h"
#include "common/bytes.h"
#include "common/checksum.h"

namespace tributary::optim {
namespace {

constexpr absl::string_view kMagic = "TRBS";
constexpr uint8_t kVersion = 1;

std::string Head(absl::string_view kind, const Layout& layout) {
  std::string head(kMagic);
  AppendLittleEndian(kVersion, head);
  absl::StrAppend(&head, AsBytes(layout.hash()));
  AppendLittleEndian(static_cast<uint8_t>(kind.size()), head);
  absl::StrAppend(&head, kind);
  return head;
}

}  // namespace

std::string SealState(absl::string_view kind, const Layout& layout, absl::string_view body) {
  return SealState(kind, layout, {body});
}

std::string SealState(absl::string_view kind, const Layout& layout, std::initializer_list<absl::string_view> parts) {
  uint64_t length = 0;
  for (const absl::string_view part : parts) {
    length += part.size();
  }
  std::string state = Head(kind, layout);
  state.reserve(state.size() + sizeof(length) + length + sizeof(uint32_t));
  AppendLittleEndian(length, state);
  for (const absl::string_view part : parts) {
    absl::StrAppend(&state, part);
  }
  AppendLittleEndian(Crc32c(state), state);
  return state;
}

absl::StatusOr<absl::string_view> OpenState(absl::string_view kind, const Layout& layout, absl::string_view state) {
  const std::string head = Head(kind, layout);
  const auto refuse = [&](absl::string_view why) { return absl::DataLossError(absl::StrCat("saved ", kind, " state: ", why)); };
  if (state.size() < head.size() + sizeof(uint64_t) + sizeof(uint32_t)) {
    return refuse("truncated");
  }
  const absl::string_view sealed = state.substr(0, state.size() - sizeof(uint32_t));
  uint32_t checksum = 0;
  ByteReader(state.substr(sealed.size())).Read(checksum);
  if (Crc32c(sealed) != checksum) {
    return refuse("damaged: its checksum does not match");
  }
  if (sealed.substr(0, head.size()) != head) {
    return refuse("from another version, layout or mode");
  }
  ByteReader reader(sealed.substr(head.size()));
  uint64_t length = 0;
  reader.Read(length);
  if (length != reader.rest().size()) {
    return refuse("its length is wrong");
  }
  return reader.rest();
}

}  // namespace tributary::optim
