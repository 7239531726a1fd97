// Images as files: PNG with libpng, JPEG with libjpeg-turbo. The bytes are not trusted.
#ifndef TRIBUTARY_WORKER_DATA_IMAGE_FILE_H_
#define TRIBUTARY_WORKER_DATA_IMAGE_FILE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace tributary::worker {

// Pixels of one byte a channel, row-major, channels innermost: [height, width, channels].
struct Raster {
  int64_t height = 0;
  int64_t width = 0;
  int64_t channels = 0;  // 1: grey; 3: red, green, blue
  std::vector<uint8_t> pixels;
};

// More than this in one image is refused, before anything is set aside for it: a few kilobytes of PNG can say that they are gigabytes.
inline constexpr int64_t kMaxImagePixels = int64_t{1} << 25;
// InvalidArgument, fit to follow a path: an image without pixels, or of more than `max_pixels`.
absl::Status CheckPixels(int64_t height, int64_t width, int64_t max_pixels);

// A PNG or JPEG, told by how it begins, as red, green and blue: palettes and grey are expanded, 16 bits cut to 8, transparent pixels laid
// on white, and CMYK refused. What a camera notes of its orientation is not heeded. InvalidArgument, fit to follow a path:
// neither, one that its library cannot read whole, or of more than `max_pixels`.
absl::StatusOr<Raster> DecodeImage(absl::string_view bytes, int64_t max_pixels = kMaxImagePixels);

// `image`, of one or three channels, as a PNG. The same pixels give the same bytes on one machine. Internal: libpng could not.
absl::StatusOr<std::string> EncodePng(const Raster& image);

}  // namespace tributary::worker

#endif  // TRIBUTARY_WORKER_DATA_IMAGE_FILE_H_
