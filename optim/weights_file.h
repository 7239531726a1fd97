// A model's parameters as a safetensors file, which PyTorch reads too: one fp32 tensor for each block of the layout, by name.
#ifndef TRIBUTARY_OPTIM_WEIGHTS_FILE_H_
#define TRIBUTARY_OPTIM_WEIGHTS_FILE_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/checksum.h"
#include "common/stored_bytes.h"
#include "optim/layout.h"

namespace tributary::optim {

// Whose parameters a file holds, for its metadata.
struct WeightsOrigin {
  std::string run_id;
  uint64_t round = 0;
  Digest state_hash{};
  std::map<std::string, std::string> sections = {};  // further keys of the metadata (proto/config/weights_sections.h)
};

// The bytes of the file; equal arguments give equal bytes. `theta` [layout.size()].
// InvalidArgument: `theta` is of another size, or a name is not UTF-8.
absl::StatusOr<std::string> EncodeWeights(const Layout& layout, absl::Span<const float> theta, const WeightsOrigin& origin);

// theta [layout.size()] from a file that EncodeWeights, PyTorch or others wrote; its tensors may lie in any order. Beside theta it takes
// its header and a slice. DataLoss: not a safetensors file; InvalidArgument: of another model, with the tensor that differs, or NaN or
// infinity, with its place; errors of the storage.
absl::StatusOr<std::vector<float>> ReadWeights(const StoredBytes& file, const Layout& layout);

// The bytes of one such file, fp32, from the tensors of one or several in which somebody else keeps the model; one whose name `left_out`
// says is passed over. Takes the result and a slice. Errors as of ReadWeights; InvalidArgument also: a tensor in two of the files.
absl::StatusOr<std::string> MergeWeights(absl::Span<const SharedBytes> files, const Layout& layout,
                                         absl::FunctionRef<bool(absl::string_view name)> left_out);

// The same as ReadWeights of a file that the user of this machine names; errors name it. Exit code kDamaged with DataLoss. NotFound and
// others as ReadFile; InvalidArgument besides: not a regular file.
absl::StatusOr<std::vector<float>> ReadWeights(const std::string& path, const Layout& layout);

// What the header of such a file says besides its tensors. Errors as above.
absl::StatusOr<std::map<std::string, std::string>> ReadWeightsMetadata(const std::string& path);

// Opens a regular file that the user of this machine names. NotFound and others as ReadFile; InvalidArgument: another kind of file.
absl::StatusOr<SharedBytes> OpenWeights(const std::string& path);

// Opens the file that somebody else names, in the one folder that is for such files: a regular file, no link, without waiting.
// InvalidArgument: not a file's name. NotFound: not there, or not to be read, without saying which.
absl::StatusOr<SharedBytes> OpenWeights(const std::string& folder, const std::string& name);

}  // namespace tributary::optim

#endif  // TRIBUTARY_OPTIM_WEIGHTS_FILE_H_
