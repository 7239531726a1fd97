#include "optim/weights_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <map>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "common/bytes.h"
#include "common/exit_codes.h"
#include "common/file_store.h"
#include "common/files.h"
#include "common/safetensors.h"
#include "common/status_macros.h"

namespace tributary::optim {
namespace {

absl::Status CheckFinite(const Block& block, int64_t first, absl::Span<const float> values) {
  const auto bad = std::find_if(values.begin(), values.end(), [](float value) { return !std::isfinite(value); });
  return bad == values.end() ? absl::OkStatus()
                             : absl::InvalidArgumentError(absl::StrCat("tensor ", block.name, ": its element ",
                                                                       first + (bad - values.begin()), " is ", *bad, ", no finite number"));
}

// Where the values of a block lie.
struct Place {
  const StoredBytes* file = nullptr;
  SafetensorsHeader::Entry tensor;
};

// The tensors of the blocks, in their order.
absl::StatusOr<std::vector<Place>> Match(absl::Span<const StoredBytes* const> files, const Layout& layout,
                                         absl::FunctionRef<bool(absl::string_view name)> left_out) {
  std::map<std::string, Place> by_name;
  for (const StoredBytes* const file : files) {
    TRIBUTARY_ASSIGN_OR_RETURN(SafetensorsHeader header, ReadSafetensorsHeader(*file));
    for (SafetensorsHeader::Entry& tensor : header.tensors) {
      if (left_out(tensor.name)) {
        continue;
      }
      std::string name = tensor.name;
      const auto [found, added] = by_name.try_emplace(std::move(name), Place{file, std::move(tensor)});
      if (!added) {
        return absl::InvalidArgumentError(absl::StrCat("tensor ", found->first, " is in two files"));
      }
    }
  }
  std::vector<Place> places;
  for (const Block& block : layout.blocks()) {
    const auto found = by_name.find(block.name);
    if (found == by_name.end()) {
      return absl::InvalidArgumentError(absl::StrCat("has no tensor ", block.name, "; is it from another model?"));
    }
    Place& place = found->second;
    if (place.tensor.shape != block.shape) {
      return absl::InvalidArgumentError(absl::StrCat("tensor ", block.name, " has shape [", absl::StrJoin(place.tensor.shape, ", "),
                                                     "]; the run's model has [", absl::StrJoin(block.shape, ", "), "]"));
    }
    places.push_back(std::move(place));
  }
  if (by_name.size() != layout.blocks().size()) {
    return absl::InvalidArgumentError(absl::StrCat("has ", by_name.size(), " tensors; the run's model has ", layout.blocks().size()));
  }
  return places;
}

bool NoneLeftOut(absl::string_view) {
  return false;
}

// The values of `block`, finite, in pieces, in their order.
absl::Status ReadBlock(const Place& place, const Block& block, absl::FunctionRef<void(absl::Span<const float>)> take) {
  int64_t done = 0;
  return ReadTensor(*place.file, place.tensor, [&](absl::Span<const float> values) -> absl::Status {
    TRIBUTARY_RETURN_IF_ERROR(CheckFinite(block, done, values));
    take(values);
    done += static_cast<int64_t>(values.size());
    return absl::OkStatus();
  });
}

absl::StatusOr<SharedBytes> OpenRegular(int folder, const std::string& name, int flags, const std::string& path) {
  // Opening a FIFO or a terminal would wait for whoever is at its other end.
  const int descriptor = openat(folder, name.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | flags);
  if (descriptor < 0) {
    return StorageError("read", path, errno);
  }
  struct stat info;
  if (fstat(descriptor, &info) != 0 || !S_ISREG(info.st_mode)) {
    close(descriptor);
    return absl::InvalidArgumentError(absl::StrCat(path, " is not a regular file"));
  }
  return BytesOfDescriptor(descriptor, path);
}

absl::Status OfFile(const std::string& path, const absl::Status& error) {
  const absl::Status why = Annotate(error, path);
  return absl::IsDataLoss(why) ? WithExitCode(why, ExitCode::kDamaged) : why;
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
  std::map<std::string, std::string> metadata = {{"tributary.run", origin.run_id},
                                                 {"tributary.round", absl::StrCat(origin.round)},
                                                 {"tributary.state_hash", DigestHex(origin.state_hash)},
                                                 {"format", "pt"}};
  metadata.insert(origin.sections.begin(), origin.sections.end());
  return EncodeSafetensors(tensors, metadata);
}

absl::StatusOr<std::vector<float>> ReadWeights(const StoredBytes& file, const Layout& layout) {
  const StoredBytes* const files[] = {&file};
  TRIBUTARY_ASSIGN_OR_RETURN(const std::vector<Place> places, Match(files, layout, NoneLeftOut));
  std::vector<float> theta(static_cast<size_t>(layout.size()));
  for (size_t i = 0; i < places.size(); ++i) {
    const Block& block = layout.blocks()[i];
    auto next = theta.begin() + block.offset;
    TRIBUTARY_RETURN_IF_ERROR(
        ReadBlock(places[i], block, [&](absl::Span<const float> values) { next = std::copy(values.begin(), values.end(), next); }));
  }
  return theta;
}

absl::StatusOr<std::string> MergeWeights(absl::Span<const SharedBytes> files, const Layout& layout,
                                         absl::FunctionRef<bool(absl::string_view name)> left_out) {
  std::vector<const StoredBytes*> pointers;
  for (const SharedBytes& file : files) {
    pointers.push_back(file.get());
  }
  TRIBUTARY_ASSIGN_OR_RETURN(const std::vector<Place> places, Match(pointers, layout, left_out));
  SafetensorsHeader header;
  header.metadata = {{"format", "pt"}};
  for (const Place& place : places) {
    header.tensors.push_back(place.tensor);
  }
  TRIBUTARY_ASSIGN_OR_RETURN(std::string bytes, EncodeSafetensorsHeader(header));
  bytes.reserve(bytes.size() + static_cast<size_t>(layout.size()) * sizeof(float));
  for (size_t i = 0; i < places.size(); ++i) {
    TRIBUTARY_RETURN_IF_ERROR(
        ReadBlock(places[i], layout.blocks()[i], [&](absl::Span<const float> values) { AppendFloats(values, bytes); }));
  }
  return bytes;
}

absl::StatusOr<std::vector<float>> ReadWeights(const std::string& path, const Layout& layout) {
  TRIBUTARY_ASSIGN_OR_RETURN(const SharedBytes file, OpenWeights(path));
  absl::StatusOr<std::vector<float>> theta = ReadWeights(*file, layout);
  return theta.ok() ? theta : OfFile(path, theta.status());
}

absl::StatusOr<std::map<std::string, std::string>> ReadWeightsMetadata(const std::string& path) {
  TRIBUTARY_ASSIGN_OR_RETURN(const SharedBytes file, OpenWeights(path));
  absl::StatusOr<SafetensorsHeader> header = ReadSafetensorsHeader(*file);
  if (!header.ok()) {
    return OfFile(path, header.status());
  }
  return std::move(header->metadata);
}

absl::StatusOr<SharedBytes> OpenWeights(const std::string& path) {
  return OpenRegular(AT_FDCWD, path, 0, path);
}

absl::StatusOr<SharedBytes> OpenWeights(const std::string& folder, const std::string& name) {
  if (!IsFileName(name)) {
    return absl::InvalidArgumentError(
        absl::StrCat("'", absl::Utf8SafeCEscape(name), "' is no file's name: letters, digits, '.', '_' and '-', without a folder"));
  }
  absl::StatusOr<SharedBytes> file = absl::NotFoundError("");
  if (const int descriptor = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC); descriptor >= 0) {
    file = OpenRegular(descriptor, name, O_NOFOLLOW, name);
    close(descriptor);
  }
  // Whoever asks learns the same of what is not there and of what is not for them.
  return file.ok() ? file : absl::NotFoundError(absl::StrCat("there is no regular file '", name, "' that can be read"));
}

}  // namespace tributary::optim
