// Model files that PyTorch's `safetensors` reads: an 8-byte little-endian header length, a JSON header, raw little-endian tensors.
// Source: the safetensors format description. Written is fp32; read are also bf16 and fp16, which it holds exactly.
#ifndef TRIBUTARY_COMMON_SAFETENSORS_H_
#define TRIBUTARY_COMMON_SAFETENSORS_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/stored_bytes.h"

namespace tributary {

struct NamedTensor {
  std::string name;
  std::vector<int64_t> shape;
  absl::Span<const float> values;
};

// Canonical bytes for the same tensors and metadata.
absl::StatusOr<std::string> EncodeSafetensors(absl::Span<const NamedTensor> tensors, const std::map<std::string, std::string>& metadata);

// How a file keeps the values of a tensor.
enum class ValueFormat { kFp32, kBf16, kFp16 };

// What a file says of its tensors, which lie back to back and fill it.
struct SafetensorsHeader {
  struct Entry {
    std::string name;
    std::vector<int64_t> shape;
    uint64_t offset = 0;  // of its values, in bytes of the file
    uint64_t bytes = 0;
    ValueFormat format = ValueFormat::kFp32;
  };
  std::vector<Entry> tensors;  // by offset
  std::map<std::string, std::string> metadata;
};

// A header that is longer is refused before it is read: parsed, JSON takes a dozen times its length. Ten thousand tensors fit.
inline constexpr uint64_t kMaxSafetensorsHeader = uint64_t{1} << 20;

// Reads the header alone. DataLoss: a header or offset outside the file, a header longer than kMaxSafetensorsHeader, overlapping or short
// tensors, a dtype other than F32, BF16 and F16. Errors of the storage.
absl::StatusOr<SafetensorsHeader> ReadSafetensorsHeader(const StoredBytes& file);

// What comes before the values of fp32 tensors with these names and shapes, in this order: the start of what EncodeSafetensors gives.
absl::StatusOr<std::string> EncodeSafetensorsHeader(const SafetensorsHeader& header);

// The values of one tensor of `file`, in pieces. Errors of the storage, and of `visit`, which end it.
absl::Status ReadTensor(const StoredBytes& file, const SafetensorsHeader::Entry& tensor,
                        absl::FunctionRef<absl::Status(absl::Span<const float> values)> visit);

struct SafetensorsFile {
  struct Entry {
    std::string name;
    std::vector<int64_t> shape;
    std::vector<float> values;
  };
  std::vector<Entry> tensors;  // by data offset
  std::map<std::string, std::string> metadata;
};

// The same with all values, of a small file. Errors as above.
absl::StatusOr<SafetensorsFile> DecodeSafetensors(absl::string_view bytes);

}  // namespace tributary

#endif  // TRIBUTARY_COMMON_SAFETENSORS_H_
