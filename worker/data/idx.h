// Files in the IDX format of MNIST (http://yann.lecun.com/exdb/mnist/): numbers of one byte, with their extents in front.
#ifndef TRIBUTARY_WORKER_DATA_IDX_H_
#define TRIBUTARY_WORKER_DATA_IDX_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "worker/data/image_file.h"

namespace tributary::worker {

// Grey images [count, height, width] in the file that was parsed.
struct IdxImages {
  int64_t count = 0;
  int64_t height = 0;
  int64_t width = 0;
  absl::Span<const uint8_t> pixels;
};

// `bytes` must outlive the result. InvalidArgument, fit to follow a path: not such a file, of another length than it says, or its images
// of more than `max_pixels`.
absl::StatusOr<IdxImages> ParseIdxImages(absl::string_view bytes, int64_t max_pixels = kMaxImagePixels);
absl::StatusOr<absl::Span<const uint8_t>> ParseIdxLabels(absl::string_view bytes);

// Whether a file is named as MNIST's images are ("train-images-idx3-ubyte", "t10k-images.idx3-ubyte"), and how the file with their labels
// is named then.
bool IsIdxImagesName(absl::string_view name);
std::string IdxLabelsName(absl::string_view images_name);
bool IsIdxLabelsName(absl::string_view name);

}  // namespace tributary::worker

#endif  // TRIBUTARY_WORKER_DATA_IDX_H_
