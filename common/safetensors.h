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

namespace tributary {

struct NamedTensor {
  std::string name;
  std::vector<int64_t> shape;
  absl::Span<const float> values;
};

// Canonical bytes for the same tensors and metadata.
absl::StatusOr<std::string> EncodeSafetensors(absl::Span<const NamedTensor> tensors, const std::map<std::string, std::string>& metadata);

struct SafetensorsFile {
  struct Entry {
    std::string name;
    std::vector<int64_t> shape;
    std::vector<float> values;
  };
  std::vector<Entry> tensors;  // by data offset
  std::map<std::string, std::string> metadata;
};

// DataLoss: a header or offset outside the file, overlapping or short tensors, a dtype other than F32.
absl::StatusOr<SafetensorsFile> DecodeSafetensors(absl::string_view bytes);

}  // namespace tributary

#endif  // TRIBUTARY_COMMON_SAFETENSORS_H_
