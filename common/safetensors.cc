#include "common/safetensors.h"

#include <algorithm>
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

// The reference implementation's limit.
constexpr uint64_t kMaxHeaderBytes = 100'000'000;
constexpr uint64_t kMaxElements = uint64_t{1} << 40;
constexpr char kMetadataKey[] = "__metadata__";

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

struct Range {
  uint64_t begin = 0;
  uint64_t end = 0;
};

absl::Status ParseEntry(const std::string& name, const Json& json, SafetensorsFile::Entry* entry, Range* range) {
  const auto damaged = [&](absl::string_view what) { return Damaged(absl::StrCat("tensor '", name, "' ", what)); };
  if (!json.is_object()) {
    return damaged("is not described by an object");
  }
  const auto dtype = json.find("dtype");
  if (dtype == json.end() || !dtype->is_string()) {
    return damaged("has no dtype");
  }
  if (*dtype != "F32") {
    return damaged(absl::StrCat("has dtype ", dtype->get<std::string>(), "; only F32 is supported: convert it first"));
  }

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
  range->begin = (*offsets)[0].get<uint64_t>();
  range->end = (*offsets)[1].get<uint64_t>();
  const int64_t count = ElementCount(entry->shape);
  if (count < 0 || range->end < range->begin || range->end - range->begin != sizeof(float) * static_cast<uint64_t>(count)) {
    return damaged("has data_offsets that do not fit its shape");
  }
  entry->name = name;
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::string> EncodeSafetensors(absl::Span<const NamedTensor> tensors, const std::map<std::string, std::string>& metadata) {
  Json header = Json::object();
  if (!metadata.empty()) {
    header[kMetadataKey] = metadata;
  }
  uint64_t offset = 0;
  for (const NamedTensor& tensor : tensors) {
    if (tensor.name.empty() || header.contains(tensor.name) || tensor.name == kMetadataKey) {
      return absl::InvalidArgumentError(absl::StrCat("tensor name '", tensor.name, "' is empty, repeated or reserved"));
    }
    if (ElementCount(tensor.shape) != static_cast<int64_t>(tensor.values.size())) {
      return absl::InvalidArgumentError(
          absl::StrCat("tensor '", tensor.name, "' has ", tensor.values.size(), " values, but its shape does not"));
    }
    const uint64_t end = offset + sizeof(float) * tensor.values.size();
    header[tensor.name] = {{"dtype", "F32"}, {"shape", tensor.shape}, {"data_offsets", {offset, end}}};
    offset = end;
  }

  std::string text;
  try {
    text = header.dump();
  } catch (const Json::exception& error) {
    return absl::InvalidArgumentError(absl::StrCat("a tensor name or metadata value is not UTF-8: ", error.what()));
  }
  text.resize((text.size() + 7) / 8 * 8, ' ');  // tensors start aligned

  std::string bytes;
  bytes.reserve(sizeof(uint64_t) + text.size() + offset);
  AppendField<uint64_t>(text, bytes);
  for (const NamedTensor& tensor : tensors) {
    AppendFloats(tensor.values, bytes);
  }
  return bytes;
}

absl::StatusOr<SafetensorsFile> DecodeSafetensors(absl::string_view bytes) {
  uint64_t header_size = 0;
  ByteReader reader(bytes);
  if (!reader.Read(header_size)) {
    return Damaged("it is shorter than a header");
  }
  if (header_size > kMaxHeaderBytes || header_size > reader.rest().size()) {
    return Damaged("its header is longer than the file");
  }
  TRIBUTARY_ASSIGN_OR_RETURN(const Json header, ParseHeader(reader.rest().substr(0, header_size)));
  const absl::string_view data = reader.rest().substr(header_size);

  SafetensorsFile file;
  std::vector<std::pair<Range, SafetensorsFile::Entry>> entries;
  for (const auto& [name, json] : header.items()) {
    if (name == kMetadataKey) {
      if (!json.is_object()) {
        return Damaged("its metadata is not an object");
      }
      for (const auto& [key, value] : json.items()) {
        if (!value.is_string()) {
          return Damaged(absl::StrCat("its metadata '", key, "' is not a string"));
        }
        file.metadata.emplace(key, value.get<std::string>());
      }
      continue;
    }
    auto& [range, entry] = entries.emplace_back();
    TRIBUTARY_RETURN_IF_ERROR(ParseEntry(name, json, &entry, &range));
  }
  std::stable_sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) {
    return std::pair(a.first.begin, a.first.end) < std::pair(b.first.begin, b.first.end);
  });

  // Tensors lie back to back and fill the file: nothing overlaps, nothing hides between them, and memory is bounded by the file.
  uint64_t expected = 0;
  for (const auto& [range, entry] : entries) {
    if (range.begin != expected || range.end > data.size()) {
      return Damaged(absl::StrCat("tensor '", entry.name, "' lies at bytes ", range.begin, "..", range.end, ", not at ", expected,
                                  " within ", data.size(), " bytes of data"));
    }
    expected = range.end;
  }
  if (expected != data.size()) {
    return Damaged(absl::StrCat(data.size() - expected, " bytes follow its last tensor"));
  }

  for (auto& [range, entry] : entries) {
    entry.values.resize((range.end - range.begin) / sizeof(float));
    if (!entry.values.empty()) {
      std::memcpy(entry.values.data(), data.data() + range.begin, range.end - range.begin);
    }
    file.tensors.push_back(std::move(entry));
  }
  return file;
}

}  // namespace tributary
