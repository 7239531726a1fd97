#include "worker/data/idx.h"

#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "common/status_macros.h"

namespace tributary::worker {
namespace {

constexpr absl::string_view kImagesSuffix = "idx3-ubyte";
constexpr absl::string_view kLabelsSuffix = "idx1-ubyte";
constexpr uint8_t kUnsignedBytes = 8;

struct Idx {
  std::vector<uint64_t> extents;
  absl::Span<const uint8_t> values;
};

// Of unsigned bytes in `dimensions` dimensions.
absl::StatusOr<Idx> Parse(absl::string_view bytes, size_t dimensions) {
  const absl::Span<const uint8_t> file(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
  const size_t header = 4 + 4 * dimensions;
  if (absl::StartsWith(bytes, "\x1f\x8b")) {
    return absl::InvalidArgumentError("is compressed: unpack it (gzip -d)");
  }
  if (file.size() < header || file[0] != 0 || file[1] != 0 || file[2] != kUnsignedBytes || file[3] != dimensions) {
    return absl::InvalidArgumentError(absl::StrCat("is no IDX file of unsigned bytes in ", dimensions,
                                                   dimensions == 1 ? " dimension" : " dimensions",
                                                   ", as its name says: fetch it anew, or move it out of the data folder"));
  }
  Idx idx;
  unsigned __int128 size = 1;  // below 2^96: at most three extents
  for (size_t i = 0; i < dimensions; ++i) {
    const uint8_t* const at = file.data() + 4 + 4 * i;
    idx.extents.push_back(uint64_t{at[0]} << 24 | uint64_t{at[1]} << 16 | uint64_t{at[2]} << 8 | at[3]);
    size *= idx.extents.back();
  }
  idx.values = file.subspan(header);
  if (size != idx.values.size()) {
    return absl::InvalidArgumentError(absl::StrCat("says that it holds ", absl::StrJoin(idx.extents, " x "), " bytes, and holds ",
                                                   idx.values.size(), ": it was cut short or damaged; fetch it anew"));
  }
  return idx;
}

}  // namespace

absl::StatusOr<IdxImages> ParseIdxImages(absl::string_view bytes, int64_t max_pixels) {
  TRIBUTARY_ASSIGN_OR_RETURN(const Idx idx, Parse(bytes, 3));
  if (idx.values.empty()) {
    return absl::InvalidArgumentError("holds no image: move it out of the data folder");
  }
  const IdxImages images = {static_cast<int64_t>(idx.extents[0]), static_cast<int64_t>(idx.extents[1]),
                            static_cast<int64_t>(idx.extents[2]), idx.values};
  TRIBUTARY_RETURN_IF_ERROR(CheckPixels(images.height, images.width, max_pixels));
  return images;
}

absl::StatusOr<absl::Span<const uint8_t>> ParseIdxLabels(absl::string_view bytes) {
  TRIBUTARY_ASSIGN_OR_RETURN(const Idx idx, Parse(bytes, 1));
  return idx.values;
}

bool IsIdxImagesName(absl::string_view name) {
  return absl::EndsWith(name, kImagesSuffix);
}

std::string IdxLabelsName(absl::string_view images_name) {
  return absl::StrReplaceAll(images_name, {{"images", "labels"}, {kImagesSuffix, kLabelsSuffix}});
}

bool IsIdxLabelsName(absl::string_view name) {
  return absl::EndsWith(name, kLabelsSuffix);
}

}  // namespace tributary::worker
