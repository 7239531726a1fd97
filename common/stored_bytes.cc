#include "common/stored_bytes.h"

#include <algorithm>
#include <utility>

#include "common/assert.h"
#include "common/status_macros.h"

namespace tributary {
namespace {

class MemoryBytes final : public StoredBytes {
 public:
  explicit MemoryBytes(std::string bytes) : bytes_(std::move(bytes)) {}
  uint64_t size() const override { return bytes_.size(); }
  absl::StatusOr<absl::string_view> Slice(uint64_t offset, uint64_t length, std::string&) const override {
    return absl::string_view(bytes_).substr(offset, length);
  }

 private:
  const std::string bytes_;
};

class JoinedBytes final : public StoredBytes {
 public:
  explicit JoinedBytes(std::vector<SharedBytes> parts) : parts_(std::move(parts)) {
    for (const SharedBytes& part : parts_) {
      ends_.push_back(size() + part->size());
    }
  }
  uint64_t size() const override { return ends_.empty() ? 0 : ends_.back(); }
  absl::StatusOr<absl::string_view> Slice(uint64_t offset, uint64_t length, std::string& scratch) const override {
    size_t i = static_cast<size_t>(std::upper_bound(ends_.begin(), ends_.end(), offset) - ends_.begin());
    if (i < parts_.size() && length <= ends_[i] - offset) {
      return parts_[i]->Slice(offset - (ends_[i] - parts_[i]->size()), length, scratch);
    }
    std::string joined;
    std::string part_scratch;
    joined.reserve(length);
    for (; joined.size() < length; ++i) {
      const uint64_t begin = offset + joined.size() - (ends_[i] - parts_[i]->size());
      const uint64_t count = std::min(length - joined.size(), parts_[i]->size() - begin);
      TRIBUTARY_ASSIGN_OR_RETURN(const absl::string_view slice, parts_[i]->Slice(begin, count, part_scratch));
      joined.append(slice.data(), slice.size());
    }
    scratch = std::move(joined);
    return scratch;
  }

 private:
  const std::vector<SharedBytes> parts_;
  std::vector<uint64_t> ends_;  // by part: where it ends in the whole
};

class PartialBytes final : public StoredBytes {
 public:
  PartialBytes(SharedBytes whole, uint64_t offset, uint64_t length) : whole_(std::move(whole)), offset_(offset), length_(length) {
    TRIBUTARY_ASSERT(offset <= whole_->size() && length <= whole_->size() - offset, length, " bytes at ", offset, " of ", whole_->size());
  }
  uint64_t size() const override { return length_; }
  absl::StatusOr<absl::string_view> Slice(uint64_t offset, uint64_t length, std::string& scratch) const override {
    return whole_->Slice(offset_ + offset, length, scratch);
  }

 private:
  const SharedBytes whole_;
  const uint64_t offset_;
  const uint64_t length_;
};

}  // namespace

SharedBytes InMemory(std::string bytes) {
  return std::make_shared<const MemoryBytes>(std::move(bytes));
}

SharedBytes Concatenated(std::vector<SharedBytes> parts) {
  return std::make_shared<const JoinedBytes>(std::move(parts));
}

SharedBytes PartOf(SharedBytes bytes, uint64_t offset, uint64_t length) {
  return std::make_shared<const PartialBytes>(std::move(bytes), offset, length);
}

absl::Status ForEachSlice(const StoredBytes& bytes, absl::FunctionRef<absl::Status(absl::string_view slice)> visit) {
  std::string scratch;
  for (uint64_t offset = 0; offset < bytes.size(); offset += kSliceBytes) {
    TRIBUTARY_ASSIGN_OR_RETURN(const absl::string_view slice, bytes.Slice(offset, std::min(kSliceBytes, bytes.size() - offset), scratch));
    TRIBUTARY_RETURN_IF_ERROR(visit(slice));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> ReadAll(const StoredBytes& bytes) {
  std::string all;
  TRIBUTARY_ASSIGN_OR_RETURN(const absl::string_view view, bytes.Slice(0, bytes.size(), all));
  return view.data() == all.data() ? std::move(all) : std::string(view);
}

absl::StatusOr<Digest> Sha256(const StoredBytes& bytes) {
  Sha256Hasher hasher;
  TRIBUTARY_RETURN_IF_ERROR(ForEachSlice(bytes, [&hasher](absl::string_view slice) {
    hasher.Update(slice);
    return absl::OkStatus();
  }));
  return hasher.Finish();
}

absl::StatusOr<uint32_t> Crc32c(const StoredBytes& bytes) {
  uint32_t crc = 0;
  TRIBUTARY_RETURN_IF_ERROR(ForEachSlice(bytes, [&crc](absl::string_view slice) {
    crc = ExtendCrc32c(crc, slice);
    return absl::OkStatus();
  }));
  return crc;
}

}  // namespace tributary
