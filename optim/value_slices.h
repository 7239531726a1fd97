// How the aggregators of fp32 values make a commit: slice by slice, each packed by a thread, written in order. Internal.
#ifndef TRIBUTARY_OPTIM_VALUE_SLICES_H_
#define TRIBUTARY_OPTIM_VALUE_SLICES_H_

#include <algorithm>
#include <cstdint>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "common/byte_sink.h"
#include "common/status_macros.h"
#include "optim/parallel.h"

namespace tributary::optim {

// Calls pack(first, size, slice) for each slice of at most `longest` of `live` parameters, from `threads` threads at once, and hands what
// it has put into slice.packed to `sink`, in order. A thread keeps its Slice, which also has a `status`.
template <typename Slice>
absl::Status PackSlices(int64_t live, int64_t longest, int threads,
                        absl::FunctionRef<absl::Status(int64_t first, int64_t size, Slice& slice)> pack, ByteSink sink) {
  std::vector<Slice> slices(threads);
  for (int64_t next = 0; next < live; next += threads * longest) {
    const int64_t count = std::min<int64_t>(threads, (live - next + longest - 1) / longest);
    ParallelFor(threads, count, [&](int64_t i) {
      const int64_t first = next + i * longest;
      slices[i].status = pack(first, std::min(longest, live - first), slices[i]);
    });
    for (int64_t i = 0; i < count; ++i) {
      TRIBUTARY_RETURN_IF_ERROR(slices[i].status);
      TRIBUTARY_RETURN_IF_ERROR(sink(slices[i].packed));
    }
  }
  return absl::OkStatus();
}

}  // namespace tributary::optim

#endif  // TRIBUTARY_OPTIM_VALUE_SLICES_H_
