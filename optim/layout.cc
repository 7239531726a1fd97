#include "optim/layout.h"

#include <set>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/bytes.h"
#include "common/checksum.h"

namespace tributary::optim {
namespace {

constexpr int64_t kMaxElements = int64_t{1} << 40;
constexpr size_t kMaxNameLength = 1024;
constexpr size_t kMaxRank = 16;

// Product of the extents, each factor checked before it is multiplied in: extents may come from a model file.
absl::StatusOr<int64_t> SizeOf(const Block& block) {
  int64_t size = 1;
  bool empty = false;
  for (int64_t extent : block.shape) {
    if (extent < 0) {
      return absl::InvalidArgumentError(absl::StrCat("block ", block.name, ": extent ", extent, " is negative"));
    }
    if (extent == 0) {
      empty = true;
      continue;
    }
    if (size > kMaxElements / extent) {
      return absl::InvalidArgumentError(absl::StrCat("block ", block.name, ": more than ", kMaxElements, " elements"));
    }
    size *= extent;
  }
  return empty ? 0 : size;
}

Digest HashOf(absl::Span<const Block> blocks) {
  std::string text = "tributary layout 1\n";
  AppendLittleEndian<uint64_t>(blocks.size(), text);
  for (const Block& block : blocks) {
    AppendLittleEndian<uint32_t>(static_cast<uint32_t>(block.name.size()), text);
    text.append(block.name);
    AppendLittleEndian<uint32_t>(static_cast<uint32_t>(block.shape.size()), text);
    for (int64_t extent : block.shape) {
      AppendLittleEndian<int64_t>(extent, text);
    }
    AppendLittleEndian<uint8_t>(block.frozen ? 1 : 0, text);
  }
  return Sha256(text);
}

}  // namespace

absl::StatusOr<Layout> Layout::Create(std::vector<Block> blocks) {
  std::set<absl::string_view> names;
  int64_t offset = 0;
  for (Block& block : blocks) {
    if (block.name.empty()) {
      return absl::InvalidArgumentError("a block has no name");
    }
    if (block.name.size() > kMaxNameLength) {
      return absl::InvalidArgumentError(absl::StrCat("a block's name has ", block.name.size(), " bytes, more than ", kMaxNameLength));
    }
    if (!names.insert(block.name).second) {
      return absl::InvalidArgumentError(absl::StrCat("two blocks are named ", block.name));
    }
    if (block.shape.size() > kMaxRank) {
      return absl::InvalidArgumentError(absl::StrCat("block ", block.name, ": more than ", kMaxRank, " dimensions"));
    }
    absl::StatusOr<int64_t> size = SizeOf(block);
    if (!size.ok()) {
      return size.status();
    }
    block.offset = offset;
    block.size = *size;
    offset += *size;
    if (offset > kMaxElements) {
      return absl::InvalidArgumentError(absl::StrCat("more than ", kMaxElements, " elements up to block ", block.name));
    }
  }
  Layout layout;
  layout.hash_ = HashOf(blocks);
  layout.size_ = offset;
  layout.blocks_ = std::move(blocks);
  return layout;
}

}  // namespace tributary::optim
