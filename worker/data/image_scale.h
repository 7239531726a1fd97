// Images at the size that a model reads.
#ifndef TRIBUTARY_WORKER_DATA_IMAGE_SCALE_H_
#define TRIBUTARY_WORKER_DATA_IMAGE_SCALE_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace tributary::worker {

// Pixels elsewhere, as those of a Raster (image_file.h): [height, width, channels].
struct RasterView {
  int64_t height = 0;
  int64_t width = 0;
  int64_t channels = 0;
  absl::Span<const uint8_t> pixels;
};

// What a model reads of every image.
struct ImageShape {
  int64_t height = 1;
  int64_t width = 1;
  int64_t channels = 1;  // 1 or 3
  int64_t values() const { return height * width * channels; }
};

// Appends `image`, of one or three channels, to `pixels`, scaled to `shape` and channels outermost: [channels, height, width]. Each side is
// scaled for itself (the proportions are not kept): made smaller, a pixel is the mean of the area that it covers; made larger, it lies
// between its two neighbours. Grey is (299 R + 587 G + 114 B) / 1000. The same image gives the same bytes on all machines.
void AppendScaled(const RasterView& image, const ImageShape& shape, std::vector<uint8_t>& pixels);

}  // namespace tributary::worker

#endif  // TRIBUTARY_WORKER_DATA_IMAGE_SCALE_H_
