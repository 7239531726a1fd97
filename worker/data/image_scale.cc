#include "worker/data/image_scale.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

namespace tributary::worker {
namespace {

// What one pixel of the result is made of along a side: the weights, summing to 1, of source pixels from `first` on.
struct Taps {
  int64_t first = 0;
  std::vector<double> weights;
};

// The share of each source pixel in the stretch that pixel `place` covers.
Taps AreaTaps(int64_t place, int64_t from, int64_t to) {
  const double scale = static_cast<double>(from) / static_cast<double>(to);
  const double begin = static_cast<double>(place) * scale;
  const double end = std::min(static_cast<double>(place + 1) * scale, static_cast<double>(from));
  Taps taps{.first = static_cast<int64_t>(begin), .weights = {}};
  for (int64_t i = taps.first; static_cast<double>(i) < end; ++i) {
    const double covered = std::min(end, static_cast<double>(i + 1)) - std::max(begin, static_cast<double>(i));
    taps.weights.push_back(covered / scale);
  }
  return taps;
}

// The two source pixels whose middles are next to the middle of pixel `place`.
Taps LinearTaps(int64_t place, int64_t from, int64_t to) {
  const double scale = static_cast<double>(from) / static_cast<double>(to);
  const double middle = std::clamp((static_cast<double>(place) + 0.5) * scale - 0.5, 0.0, static_cast<double>(from - 1));
  const auto first = static_cast<int64_t>(middle);
  const double share = middle - static_cast<double>(first);
  return share > 0 ? Taps{first, {1 - share, share}} : Taps{first, {1}};
}

std::vector<Taps> TapsOf(int64_t from, int64_t to) {
  std::vector<Taps> taps;
  taps.reserve(static_cast<size_t>(to));
  for (int64_t i = 0; i < to; ++i) {
    taps.push_back(to <= from ? AreaTaps(i, from, to) : LinearTaps(i, from, to));
  }
  return taps;
}

// Adds row `y` of `image`, scaled to the width of `taps` and to `channels`, and multiplied by `weight`, to `sum` [width, channels].
void AddRow(const RasterView& image, int64_t y, const std::vector<Taps>& taps, int64_t channels, double weight, std::vector<double>& sum) {
  const uint8_t* const row = image.pixels.data() + y * image.width * image.channels;
  for (size_t x = 0; x < taps.size(); ++x) {
    double mean[3] = {0, 0, 0};
    for (size_t i = 0; i < taps[x].weights.size(); ++i) {
      const uint8_t* const pixel = row + (taps[x].first + static_cast<int64_t>(i)) * image.channels;
      for (int64_t c = 0; c < image.channels; ++c) {
        mean[c] += taps[x].weights[i] * pixel[c];
      }
    }
    double* const to = sum.data() + x * static_cast<size_t>(channels);
    if (channels == 1) {
      to[0] += weight * (image.channels == 1 ? mean[0] : (299 * mean[0] + 587 * mean[1] + 114 * mean[2]) / 1000);
      continue;
    }
    for (int64_t c = 0; c < channels; ++c) {
      to[c] += weight * mean[image.channels == 1 ? 0 : c];
    }
  }
}

}  // namespace

void AppendScaled(const RasterView& image, const ImageShape& shape, std::vector<uint8_t>& pixels) {
  const std::vector<Taps> columns = TapsOf(image.width, shape.width);
  const std::vector<Taps> rows = TapsOf(image.height, shape.height);
  const size_t begin = pixels.size();
  pixels.resize(begin + static_cast<size_t>(shape.values()));
  std::vector<double> sum(static_cast<size_t>(shape.width * shape.channels));
  for (int64_t y = 0; y < shape.height; ++y) {
    std::fill(sum.begin(), sum.end(), 0.0);
    const Taps& taps = rows[static_cast<size_t>(y)];
    for (size_t i = 0; i < taps.weights.size(); ++i) {
      AddRow(image, taps.first + static_cast<int64_t>(i), columns, shape.channels, taps.weights[i], sum);
    }
    for (int64_t x = 0; x < shape.width; ++x) {
      for (int64_t c = 0; c < shape.channels; ++c) {
        const double value = std::floor(sum[static_cast<size_t>(x * shape.channels + c)] + 0.5);
        pixels[begin + static_cast<size_t>((c * shape.height + y) * shape.width + x)] = static_cast<uint8_t>(std::clamp(value, 0.0, 255.0));
      }
    }
  }
}

}  // namespace tributary::worker
