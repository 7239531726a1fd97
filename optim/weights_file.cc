#include "optim/weights_file.h"

#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "common/exit_codes.h"
#include "common/files.h"
#include "common/safetensors.h"
#include "common/status_macros.h"

namespace tributary::optim {
namespace {

// Room for names and metadata beside the values.
constexpr uint64_t kMaxHeaderBytes = uint64_t{64} << 20;

absl::StatusOr<std::vector<float>> ThetaOf(const SafetensorsFile& file, const Layout& layout) {
  std::map<absl::string_view, const SafetensorsFile::Entry*> by_name;
  for (const SafetensorsFile::Entry& tensor : file.tensors) {
    by_name[tensor.name] = &tensor;
  }
  std::vector<float> theta(static_cast<size_t>(layout.size()));
  for (const Block& block : layout.blocks()) {
    const auto found = by_name.find(block.name);
    if (found == by_name.end()) {
      return absl::InvalidArgumentError(absl::StrCat("has no tensor ", block.name, "; is it from another model?"));
    }
    const SafetensorsFile::Entry& tensor = *found->second;
    if (tensor.shape != block.shape) {
      return absl::InvalidArgumentError(absl::StrCat("tensor ", block.name, " has shape [", absl::StrJoin(tensor.shape, ", "),
                                                     "]; the run's model has [", absl::StrJoin(block.shape, ", "), "]"));
    }
    std::copy(tensor.values.begin(), tensor.values.end(), theta.begin() + block.offset);
  }
  if (file.tensors.size() != layout.blocks().size()) {
    return absl::InvalidArgumentError(absl::StrCat("has ", file.tensors.size(), " tensors; the run's model has ", layout.blocks().size()));
  }
  return theta;
}

}  // namespace

absl::StatusOr<std::string> EncodeWeights(const Layout& layout, absl::Span<const float> theta, const WeightsOrigin& origin) {
  if (static_cast<int64_t>(theta.size()) != layout.size()) {
    return absl::InvalidArgumentError(absl::StrCat(theta.size(), " parameters; the layout has ", layout.size()));
  }
  std::vector<NamedTensor> tensors;
  for (const Block& block : layout.blocks()) {
    tensors.push_back({block.name, block.shape, theta.subspan(static_cast<size_t>(block.offset), static_cast<size_t>(block.size))});
  }
  return EncodeSafetensors(tensors, {{"tributary.run", origin.run_id},
                                     {"tributary.round", absl::StrCat(origin.round)},
                                     {"tributary.state_hash", DigestHex(origin.state_hash)},
                                     {"format", "pt"}});
}

absl::StatusOr<std::vector<float>> ReadWeights(const std::string& path, const Layout& layout) {
  TRIBUTARY_ASSIGN_OR_RETURN(const std::string bytes,
                             ReadFile(path, static_cast<uint64_t>(layout.size()) * sizeof(float) + kMaxHeaderBytes));
  const absl::StatusOr<SafetensorsFile> file = DecodeSafetensors(bytes);
  if (!file.ok()) {
    return WithExitCode(Annotate(file.status(), path), ExitCode::kDamaged);
  }
  absl::StatusOr<std::vector<float>> theta = ThetaOf(*file, layout);
  if (!theta.ok()) {
    return Annotate(theta.status(), path);
  }
  return theta;
}

}  // namespace tributary::optim
