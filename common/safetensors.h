// Model files that PyTorch's `safetensors` reads: an 8-byte little-endian header length, a JSON header, raw little-endian tensors.
// Source: the safetensors format description. fp32 only.
#ifndef TRIBUTARY_COMMON_SAFETENSORS_H_
#define TRIBUTARY_COMMON_SAFETENSORS_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

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

// What a file says of its tensors, which lie back to back and fill it.
struct SafetensorsHeader {
  struct Entry {
    std::string name;
    std::vector<int64_t> shape;
    uint64_t offset = 0;  // of its values, in bytes of the file
    uint64_t bytes = 0;   // 4 for each value
  };
  std::vector<Entry> tensors;  // by offset
  std::map<std::string, std::string> metadata;
};

// A header that is longer is refused before it is read: parsed, JSON takes a dozen times its length. Ten thousand tensors fit.
inline constexpr uint64_t kMaxSafetensorsHeader = uint64_t{1} << 20;

// Reads the header alone. DataLoss: a header or offset outside the file, a header longer than kMaxSafetensorsHeader, overlapping or short
// tensors, a dtype other than F32. Errors of the storage.
absl::StatusOr<SafetensorsHeader> ReadSafetensorsHeader(const StoredBytes& file);

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
