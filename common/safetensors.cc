#include "common/safetensors.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/bytes.h"
#include "common/status_macros.h"

namespace tributary {
namespace {

using Json = nlohmann::json;

constexpr uint64_t kMaxElements = uint64_t{1} << 40;
constexpr char kMetadataKey[] = "__metadata__";

struct FormatTraits {
  ValueFormat format;
  const char* dtype;
  uint64_t width;  // bytes of a value
};
// In the order of ValueFormat.
constexpr FormatTraits kFormats[] = {{ValueFormat::kFp32, "F32", 4}, {ValueFormat::kBf16, "BF16", 2}, {ValueFormat::kFp16, "F16", 2}};

absl::Status Damaged(absl::string_view what) {
  return absl::DataLossError(absl::StrCat("not a readable safetensors file: ", what));
}

// Product of the extents; -1 if an extent is negative or the product exceeds kMaxElements.
int64_t ElementCount(absl::Span<const int64_t> shape) {
  uint64_t count = 1;
  for (const int64_t extent : shape) {
    if (extent < 0) {
      return -1;
    }
    if (extent == 0) {
      return 0;
    }
    if (static_cast<uint64_t>(extent) > kMaxElements / count) {
      return -1;
    }
    count *= static_cast<uint64_t>(extent);
  }
  return static_cast<int64_t>(count);
}

// Parses the header, refusing what a lenient JSON reader would pass over: repeated names and deep nesting.
absl::StatusOr<Json> ParseHeader(absl::string_view text) {
  std::set<std::string> names;
  std::string problem;
  const auto check = [&](int depth, Json::parse_event_t event, Json& parsed) {
    if (!problem.empty()) {
      return false;
    }
    if (depth > 3) {
      problem = "its header is nested too deeply";
    }
    if (depth == 1 && event == Json::parse_event_t::key && !names.insert(parsed.get<std::string>()).second) {
      problem = absl::StrCat("its header names '", parsed.get<std::string>(), "' twice");
    }
    return true;
  };
  Json header = Json::parse(text.begin(), text.end(), check, /*allow_exceptions=*/false);
  if (!problem.empty()) {
    return Damaged(problem);
  }
  if (!header.is_object()) {
    return Damaged("its header is not a JSON object");
  }
  return header;
}

// Offsets count from the first byte of data.
absl::Status ParseEntry(const std::string& name, const Json& json, SafetensorsHeader::Entry* entry) {
  const auto damaged = [&](absl::string_view what) { return Damaged(absl::StrCat("tensor '", name, "' ", what)); };
  if (!json.is_object()) {
    return damaged("is not described by an object");
  }
  const auto dtype = json.find("dtype");
  if (dtype == json.end() || !dtype->is_string()) {
    return damaged("has no dtype");
  }
  const auto* const format =
      std::find_if(std::begin(kFormats), std::end(kFormats), [&](const auto& known) { return *dtype == known.dtype; });
  if (format == std::end(kFormats)) {
    return damaged(absl::StrCat("has dtype ", dtype->get<std::string>(), "; only F32, BF16 and F16 are read: convert it first"));
  }
  entry->format = format->format;

  const auto shape = json.find("shape");
  if (shape == json.end() || !shape->is_array()) {
    return damaged("has no shape");
  }
  for (const Json& extent : *shape) {
    if (!extent.is_number_unsigned() || extent.get<uint64_t>() > kMaxElements) {
      return damaged("has a shape that is not a list of sizes");
    }
    entry->shape.push_back(static_cast<int64_t>(extent.get<uint64_t>()));
  }

  const auto offsets = json.find("data_offsets");
  if (offsets == json.end() || !offsets->is_array() || offsets->size() != 2 || !(*offsets)[0].is_number_unsigned() ||
      !(*offsets)[1].is_number_unsigned()) {
    return damaged("has no pair of data_offsets");
  }
  entry->offset = (*offsets)[0].get<uint64_t>();
  const uint64_t end = (*offsets)[1].get<uint64_t>();
  const int64_t count = ElementCount(entry->shape);
  if (count < 0 || end < entry->offset || end - entry->offset != format->width * static_cast<uint64_t>(count)) {
    return damaged("has data_offsets that do not fit its shape");
  }
  entry->bytes = end - entry->offset;
  entry->name = name;
  return absl::OkStatus();
}

float FromFp16(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000) << 16;
  const uint32_t exponent = (half >> 10) & 0x1f;
  const uint32_t fraction = half & 0x3ff;
  if (exponent == 0) {  // zero, and numbers below 2^-14
    const float magnitude = static_cast<float>(fraction) * 0x1p-24f;
    return sign != 0 ? -magnitude : magnitude;
  }
  const uint32_t rebiased = exponent == 0x1f ? 0xff : exponent + 112;
  return std::bit_cast<float>(sign | rebiased << 23 | fraction << 13);
}

// `bytes` hold values.size() values.
void Widen(absl::string_view bytes, ValueFormat format, absl::Span<float> values) {
  if (format == ValueFormat::kFp32) {
    std::memcpy(values.data(), bytes.data(), bytes.size());
    return;
  }
  for (size_t i = 0; i < values.size(); ++i) {
    uint16_t narrow = 0;
    std::memcpy(&narrow, bytes.data() + i * sizeof(narrow), sizeof(narrow));
    values[i] = format == ValueFormat::kBf16 ? std::bit_cast<float>(static_cast<uint32_t>(narrow) << 16) : FromFp16(narrow);
  }
}

}  // namespace

absl::StatusOr<std::string> EncodeSafetensorsHeader(const SafetensorsHeader& header) {
  Json json = Json::object();
  if (!header.metadata.empty()) {
    json[kMetadataKey] = header.metadata;
  }
  uint64_t offset = 0;
  for (const SafetensorsHeader::Entry& tensor : header.tensors) {
    if (tensor.name.empty() || json.contains(tensor.name) || tensor.name == kMetadataKey) {
      return absl::InvalidArgumentError(absl::StrCat("tensor name '", tensor.name, "' is empty, repeated or reserved"));
    }
    const int64_t count = ElementCount(tensor.shape);
    if (count < 0) {
      return absl::InvalidArgumentError(absl::StrCat("tensor '", tensor.name, "' has no shape that is one"));
    }
    const uint64_t end = offset + sizeof(float) * static_cast<uint64_t>(count);
    json[tensor.name] = {{"dtype", "F32"}, {"shape", tensor.shape}, {"data_offsets", {offset, end}}};
    offset = end;
  }

  std::string text;
  try {
    text = json.dump();
  } catch (const Json::exception& error) {
    return absl::InvalidArgumentError(absl::StrCat("a tensor name or metadata value is not UTF-8: ", error.what()));
  }
  text.resize((text.size() + 7) / 8 * 8, ' ');  // tensors start aligned

  std::string bytes;
  AppendField<uint64_t>(text, bytes);
  return bytes;
}

absl::StatusOr<std::string> EncodeSafetensors(absl::Span<const NamedTensor> tensors, const std::map<std::string, std::string>& metadata) {
  SafetensorsHeader header;
  header.metadata = metadata;
  size_t values = 0;
  for (const NamedTensor& tensor : tensors) {
    if (ElementCount(tensor.shape) != static_cast<int64_t>(tensor.values.size())) {
      return absl::InvalidArgumentError(
          absl::StrCat("tensor '", tensor.name, "' has ", tensor.values.size(), " values, but its shape does not"));
    }
    SafetensorsHeader::Entry& entry = header.tensors.emplace_back();
    entry.name = tensor.name;
    entry.shape = tensor.shape;
    values += tensor.values.size();
  }
  TRIBUTARY_ASSIGN_OR_RETURN(std::string bytes, EncodeSafetensorsHeader(header));
  bytes.reserve(bytes.size() + values * sizeof(float));
  for (const NamedTensor& tensor : tensors) {
    AppendFloats(tensor.values, bytes);
  }
  return bytes;
}

absl::StatusOr<SafetensorsHeader> ReadSafetensorsHeader(const StoredBytes& bytes) {
  uint64_t header_size = 0;
  std::string scratch;
  if (bytes.size() < sizeof(header_size)) {
    return Damaged("it is shorter than a header");
  }
  TRIBUTARY_ASSIGN_OR_RETURN(const absl::string_view length, bytes.Slice(0, sizeof(header_size), scratch));
  ByteReader(length).Read(header_size);
  if (header_size > bytes.size() - sizeof(header_size)) {
    return Damaged("its header is longer than the file");
  }
  if (header_size > kMaxSafetensorsHeader) {
    return Damaged(absl::StrCat("its header has ", header_size, " bytes; at most ", kMaxSafetensorsHeader, " are read"));
  }
  TRIBUTARY_ASSIGN_OR_RETURN(const absl::string_view text, bytes.Slice(sizeof(header_size), header_size, scratch));
  TRIBUTARY_ASSIGN_OR_RETURN(const Json json_header, ParseHeader(text));
  const uint64_t data = sizeof(header_size) + header_size;
  const uint64_t data_bytes = bytes.size() - data;

  SafetensorsHeader header;
  for (const auto& [name, json] : json_header.items()) {
    if (name == kMetadataKey) {
      if (!json.is_object()) {
        return Damaged("its metadata is not an object");
      }
      for (const auto& [key, value] : json.items()) {
        if (!value.is_string()) {
          return Damaged(absl::StrCat("its metadata '", key, "' is not a string"));
        }
        header.metadata.emplace(key, value.get<std::string>());
      }
      continue;
    }
    TRIBUTARY_RETURN_IF_ERROR(ParseEntry(name, json, &header.tensors.emplace_back()));
  }
  std::stable_sort(header.tensors.begin(), header.tensors.end(),
                   [](const auto& a, const auto& b) { return std::pair(a.offset, a.bytes) < std::pair(b.offset, b.bytes); });

  // Tensors lie back to back and fill the file: nothing overlaps, nothing hides between them, and memory is bounded by the file.
  uint64_t expected = 0;
  for (SafetensorsHeader::Entry& entry : header.tensors) {
    if (entry.offset != expected || entry.bytes > data_bytes - expected) {
      return Damaged(absl::StrCat("tensor '", entry.name, "' lies at bytes ", entry.offset, "..", entry.offset + entry.bytes, ", not at ",
                                  expected, " within ", data_bytes, " bytes of data"));
    }
    expected += entry.bytes;
    entry.offset += data;
  }
  if (expected != data_bytes) {
    return Damaged(absl::StrCat(data_bytes - expected, " bytes follow its last tensor"));
  }
  return header;
}

absl::Status ReadTensor(const StoredBytes& file, const SafetensorsHeader::Entry& tensor,
                        absl::FunctionRef<absl::Status(absl::Span<const float> values)> visit) {
  const uint64_t width = kFormats[static_cast<size_t>(tensor.format)].width;
  std::string scratch;
  std::vector<float> values;
  for (uint64_t done = 0; done < tensor.bytes;) {
    const uint64_t length = std::min<uint64_t>(tensor.bytes - done, kSliceBytes);
    TRIBUTARY_ASSIGN_OR_RETURN(const absl::string_view bytes, file.Slice(tensor.offset + done, length, scratch));
    values.resize(length / width);
    Widen(bytes, tensor.format, absl::MakeSpan(values));
    TRIBUTARY_RETURN_IF_ERROR(visit(values));
    done += length;
  }
  return absl::OkStatus();
}

absl::StatusOr<SafetensorsFile> DecodeSafetensors(absl::string_view bytes) {
  const BorrowedBytes stored(bytes);
  TRIBUTARY_ASSIGN_OR_RETURN(SafetensorsHeader header, ReadSafetensorsHeader(stored));
  SafetensorsFile file;
  file.metadata = std::move(header.metadata);
  for (SafetensorsHeader::Entry& tensor : header.tensors) {
    SafetensorsFile::Entry& entry = file.tensors.emplace_back();
    TRIBUTARY_RETURN_IF_ERROR(ReadTensor(stored, tensor, [&](absl::Span<const float> values) {
      entry.values.insert(entry.values.end(), values.begin(), values.end());
      return absl::OkStatus();
    }));
    entry.name = std::move(tensor.name);
    entry.shape = std::move(tensor.shape);
  }
  return file;
}

}  // namespace tributary
