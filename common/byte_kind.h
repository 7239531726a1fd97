// What bytes on the wire are for, and which way they go: the labels of bytes_total at the coordinator and at the worker.
#ifndef TRIBUTARY_COMMON_BYTE_KIND_H_
#define TRIBUTARY_COMMON_BYTE_KIND_H_

#include <array>
#include <cstddef>

namespace tributary {

enum class ByteKind { kUpdate, kCommit, kSnapshot, kControl };
enum class ByteDirection { kUp, kDown };  // up is towards the coordinator

// Label values, in the order of the enums.
inline constexpr std::array kByteKindLabels = {"update", "commit", "snapshot", "control"};
inline constexpr std::array kByteDirectionLabels = {"up", "down"};
static_assert(kByteKindLabels.size() == static_cast<size_t>(ByteKind::kControl) + 1);
static_assert(kByteDirectionLabels.size() == static_cast<size_t>(ByteDirection::kDown) + 1);

}  // namespace tributary

#endif  // TRIBUTARY_COMMON_BYTE_KIND_H_
