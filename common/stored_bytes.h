// Bytes that several readers hold at once and nobody changes: in memory, or in a file that is read in slices and need not fit in memory.
#ifndef TRIBUTARY_COMMON_STORED_BYTES_H_
#define TRIBUTARY_COMMON_STORED_BYTES_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/checksum.h"

namespace tributary {

// Thread-safe. FileStore::Open makes those of files.
class StoredBytes {
 public:
  virtual ~StoredBytes() = default;
  virtual uint64_t size() const = 0;
  // The bytes [offset, offset + length), which must lie within size(): a view into this object where they are in memory, else into
  // `scratch`, good until either changes. Errors of the storage, exit code kStorage; DataLoss, exit code kDamaged: the file is shorter.
  virtual absl::StatusOr<absl::string_view> Slice(uint64_t offset, uint64_t length, std::string& scratch) const = 0;
};

using SharedBytes = std::shared_ptr<const StoredBytes>;

// A view of bytes that somebody else keeps, for as long as this lives.
class BorrowedBytes final : public StoredBytes {
 public:
  explicit BorrowedBytes(absl::string_view bytes) : bytes_(bytes) {}
  uint64_t size() const override { return bytes_.size(); }
  absl::StatusOr<absl::string_view> Slice(uint64_t offset, uint64_t length, std::string&) const override {
    return bytes_.substr(offset, length);
  }

 private:
  const absl::string_view bytes_;
};

SharedBytes InMemory(std::string bytes);
// One after the other.
SharedBytes Concatenated(std::vector<SharedBytes> parts);
// bytes[offset, offset + length), which must lie within its size.
SharedBytes PartOf(SharedBytes bytes, uint64_t offset, uint64_t length);

// A slice long enough that opening a file for it does not count, and short enough to stay in a processor's cache.
inline constexpr uint64_t kSliceBytes = 1 << 20;

// Errors of all: Slice's. ForEachSlice also stops at the first error of `visit` and returns it; slices have kSliceBytes, the last the rest.
absl::Status ForEachSlice(const StoredBytes& bytes, absl::FunctionRef<absl::Status(absl::string_view slice)> visit);
absl::StatusOr<std::string> ReadAll(const StoredBytes& bytes);
absl::StatusOr<Digest> Sha256(const StoredBytes& bytes);
absl::StatusOr<uint32_t> Crc32c(const StoredBytes& bytes);

}  // namespace tributary

#endif  // TRIBUTARY_COMMON_STORED_BYTES_H_
