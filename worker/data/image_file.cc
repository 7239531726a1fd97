#include "worker/data/image_file.h"

#include <png.h>
#include <turbojpeg.h>

#include <memory>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/excerpt.h"
#include "common/status_macros.h"

namespace tributary::worker {
namespace {

constexpr absl::string_view kPngBegins("\x89PNG\r\n\x1a\n", 8);
constexpr absl::string_view kJpegBegins("\xff\xd8\xff", 3);
constexpr int64_t kColours = 3;

absl::StatusOr<Raster> MakeRaster(int64_t height, int64_t width, int64_t max_pixels) {
  TRIBUTARY_RETURN_IF_ERROR(CheckPixels(height, width, max_pixels));
  Raster raster{.height = height, .width = width, .channels = kColours, .pixels = {}};
  raster.pixels.resize(static_cast<size_t>(height * width * kColours));
  return raster;
}

// Damaged, or of a kind that the library does not know: which, it does not always say.
absl::Status Unreadable(absl::string_view kind, absl::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat("is a ", kind, " that cannot be read (", Excerpt(why),
                                                 "): write it anew from its source, or move it out of the data folder"));
}

// What libpng keeps of an image that it has begun with, until it has ended.
class PngImage {
 public:
  PngImage() { image.version = PNG_IMAGE_VERSION; }
  ~PngImage() { png_image_free(&image); }
  PngImage(const PngImage&) = delete;
  PngImage& operator=(const PngImage&) = delete;

  png_image image = {};
};

absl::StatusOr<Raster> DecodePng(absl::string_view bytes, int64_t max_pixels) {
  PngImage png;
  if (png_image_begin_read_from_memory(&png.image, bytes.data(), bytes.size()) == 0) {
    return Unreadable("PNG", png.image.message);
  }
  TRIBUTARY_ASSIGN_OR_RETURN(Raster raster, MakeRaster(png.image.height, png.image.width, max_pixels));
  png.image.format = PNG_FORMAT_RGB;
  png.image.flags |= PNG_IMAGE_FLAG_16BIT_sRGB;
  const png_color white = {255, 255, 255};
  if (png_image_finish_read(&png.image, &white, raster.pixels.data(), /*row_stride=*/0, /*colormap=*/nullptr) == 0) {
    return Unreadable("PNG", png.image.message);
  }
  return raster;
}

struct EndTurboJpeg {
  void operator()(void* handle) const { tjDestroy(handle); }
};

absl::StatusOr<Raster> DecodeJpeg(absl::string_view bytes, int64_t max_pixels) {
  const std::unique_ptr<void, EndTurboJpeg> handle(tjInitDecompress());
  if (handle == nullptr) {
    return absl::ResourceExhaustedError("libjpeg-turbo could not be started: is there memory left?");
  }
  const auto* const data = reinterpret_cast<const unsigned char*>(bytes.data());
  int width = 0;
  int height = 0;
  int subsampling = 0;
  int colours = 0;
  if (tjDecompressHeader3(handle.get(), data, bytes.size(), &width, &height, &subsampling, &colours) != 0) {
    return Unreadable("JPEG", tjGetErrorStr2(handle.get()));
  }
  if (colours == TJCS_CMYK || colours == TJCS_YCCK) {
    return absl::InvalidArgumentError("is a JPEG in CMYK, the colours of printers: convert it to RGB");
  }
  TRIBUTARY_ASSIGN_OR_RETURN(Raster raster, MakeRaster(height, width, max_pixels));
  // Else it makes up what a file that is cut short lacks, and takes all the time that a file of endless scans asks for.
  constexpr int kStrict = TJFLAG_STOPONWARNING | TJFLAG_LIMITSCANS | TJFLAG_ACCURATEDCT;
  if (tjDecompress2(handle.get(), data, bytes.size(), raster.pixels.data(), width, /*pitch=*/0, height, TJPF_RGB, kStrict) != 0) {
    return Unreadable("JPEG", tjGetErrorStr2(handle.get()));
  }
  return raster;
}

}  // namespace

absl::Status CheckPixels(int64_t height, int64_t width, int64_t max_pixels) {
  if (height < 1 || width < 1 || height > max_pixels / width) {
    return absl::InvalidArgumentError(
        absl::StrCat("is of ", width, " x ", height, " pixels; at most ", max_pixels, " are read: make it smaller"));
  }
  return absl::OkStatus();
}

absl::StatusOr<Raster> DecodeImage(absl::string_view bytes, int64_t max_pixels) {
  if (absl::StartsWith(bytes, kPngBegins)) {
    return DecodePng(bytes, max_pixels);
  }
  if (absl::StartsWith(bytes, kJpegBegins)) {
    return DecodeJpeg(bytes, max_pixels);
  }
  return absl::InvalidArgumentError("is no PNG or JPEG, whatever its name says: convert it, or move it out of the data folder");
}

absl::StatusOr<std::string> EncodePng(const Raster& image) {
  PngImage png;
  png.image.height = static_cast<png_uint_32>(image.height);
  png.image.width = static_cast<png_uint_32>(image.width);
  png.image.format = image.channels == 1 ? PNG_FORMAT_GRAY : PNG_FORMAT_RGB;
  std::string bytes(PNG_IMAGE_PNG_SIZE_MAX(png.image), '\0');
  png_alloc_size_t size = bytes.size();
  if (png_image_write_to_memory(&png.image, bytes.data(), &size, /*convert_to_8_bit=*/0, image.pixels.data(), /*row_stride=*/0,
                                /*colormap=*/nullptr) == 0) {
    return absl::InternalError(absl::StrCat("libpng: ", png.image.message));
  }
  bytes.resize(size);
  return bytes;
}

}  // namespace tributary::worker
