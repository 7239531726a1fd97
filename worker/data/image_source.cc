#include <sys/stat.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "common/files.h"
#include "common/format_bytes.h"
#include "common/status_macros.h"
#include "worker/data/data_source.h"
#include "worker/data/folder.h"
#include "worker/data/idx.h"
#include "worker/data/image_file.h"
#include "worker/data/spacing.h"
#include "worker/data/utf8.h"
#include "worker/refusal.h"

namespace tributary::worker {
namespace {

constexpr uint64_t kMaxImageFileBytes = uint64_t{256} << 20;
// Label and place of an image in memory, beside its pixels.
constexpr uint64_t kBytesBesidePixels = 2 * sizeof(uint64_t);
constexpr int64_t kMostClassesCounted = 20;

constexpr char kNoImage[] = "not .png, .jpg or .jpeg";

// All images, and which of them are for what.
struct Images {
  std::vector<uint8_t> pixels;  // [images, channels, height, width]
  std::vector<int64_t> labels;  // [images]; empty: without classes
  std::vector<uint64_t> training;
  std::vector<uint64_t> validation;
  uint64_t count() const { return training.size() + validation.size(); }
};

class ImageSource final : public DataSource {
 public:
  ImageSource(Images images, const ImageOptions& shape, const DataOptions& options, DataDescription description)
      : images_(std::move(images)),
        values_(static_cast<size_t>(shape.shape.values())),
        classes_(static_cast<size_t>(shape.classes)),
        spacing_(images_.validation.size(), options.evaluation_batches, options.batch_size),
        description_(std::move(description)) {}

  Batch DrawTraining(CounterRng& rng, uint32_t rows) const override {
    Batch batch = Reserve(rows);
    for (uint32_t i = 0; i < rows; ++i) {
      Append(images_.training[rng.Below(images_.training.size())], batch);
    }
    batch.draw = rng.Next();
    return batch;
  }

  uint64_t training_samples() const override { return images_.training.size(); }

  const DataDescription& description() const override { return description_; }

  uint32_t validation_batches() const override { return spacing_.batches(); }

  Batch Validation(uint32_t index) const override {
    const uint32_t rows = spacing_.RowsOf(index);
    Batch batch = Reserve(rows);
    for (uint32_t i = 0; i < rows; ++i) {
      Append(images_.validation[spacing_.Place(index, i)], batch);
    }
    batch.draw = CounterRng(absl::StrCat("tributary validation/", index)).Next();
    return batch;
  }

  std::vector<uint64_t> TrainingTargetCounts() const override {
    std::vector<uint64_t> counts(classes_, 0);
    if (classes_ > 0) {
      for (const uint64_t place : images_.training) {
        ++counts[static_cast<size_t>(images_.labels[place])];
      }
    }
    return counts;
  }

 private:
  Batch Reserve(uint32_t rows) const {
    Batch batch;
    batch.rows = rows;
    batch.features.reserve(rows * values_);
    return batch;
  }

  void Append(uint64_t place, Batch& batch) const {
    const uint8_t* const first = images_.pixels.data() + place * values_;
    for (size_t i = 0; i < values_; ++i) {
      batch.features.push_back(static_cast<float>(first[i]) / 127.5f - 1.0f);
    }
    if (classes_ > 0) {
      batch.targets.push_back(images_.labels[place]);
    }
  }

  const Images images_;
  const size_t values_;
  const size_t classes_;
  const EvenSpacing spacing_;
  const DataDescription description_;
};

std::string NameOf(const std::string& path) {
  return std::filesystem::path(path).filename().string();
}

bool IsImageName(absl::string_view name) {
  return absl::EndsWithIgnoreCase(name, ".png") || absl::EndsWithIgnoreCase(name, ".jpg") || absl::EndsWithIgnoreCase(name, ".jpeg");
}

absl::Status About(const std::string& path, const absl::Status& status) {
  return DataError(absl::StrCat(PrintableUtf8(path), " ", status.message()));
}

class ImageReader {
 public:
  ImageReader(const DataOptions& options, const ImageOptions& images) : options_(options), wanted_(images) {}

  absl::StatusOr<std::unique_ptr<DataSource>> Read() {
    HasMet(options_.folder);
    TRIBUTARY_ASSIGN_OR_RETURN(FolderListing top, ListFolder(options_.folder, [this](absl::string_view name) -> std::string {
                                 if (IsIdxImagesName(name) || (IsIdxLabelsName(name) && has_classes())) {
                                   return "";
                                 }
                                 if (!IsImageName(name)) {
                                   return kNoImage;
                                 }
                                 return has_classes() ? "in no class's folder" : "";
                               }));
    left_out_ = std::move(top.left_out);
    std::vector<std::string> idx;
    for (const std::string& path : top.files) {
      if (!IsImageName(path)) {
        idx.push_back(path);
      } else if (!LeaveOutIfMet(path, NameOf(path))) {
        files_.emplace_back(0, path);
      }
    }
    TRIBUTARY_RETURN_IF_ERROR(ListFolders(top.folders));
    TRIBUTARY_RETURN_IF_ERROR(Reserve(files_.size(), options_.folder));
    for (const auto& [label, path] : files_) {
      TRIBUTARY_RETURN_IF_ERROR(AddFile(path, label));
    }
    TRIBUTARY_RETURN_IF_ERROR(AddIdxFiles(idx));
    return Finish();
  }

 private:
  bool has_classes() const { return wanted_.classes > 0; }

  // Whether it has been asked about what `path` leads to before, under whatever name: an image that counts twice may be held out and
  // trained on.
  bool HasMet(const std::string& path) {
    struct stat info = {};
    return ::stat(path.c_str(), &info) == 0 && !met_.emplace(info.st_dev, info.st_ino).second;
  }

  bool LeaveOutIfMet(const std::string& path, absl::string_view name) {
    const bool met = HasMet(path);
    if (met) {
      left_out_.push_back(absl::StrCat(PrintableUtf8(name), " (the same as another one)"));
    }
    return met;
  }

  // In the order of the classes.
  absl::Status ListFolders(const std::vector<std::string>& folders) {
    std::vector<std::pair<int64_t, std::string>> by_class;
    for (const std::string& folder : folders) {
      int64_t label = 0;
      if (has_classes()) {
        TRIBUTARY_ASSIGN_OR_RETURN(label, ClassOf(NameOf(folder)));
      }
      by_class.emplace_back(label, folder);
    }
    std::sort(by_class.begin(), by_class.end());
    for (const auto& [label, folder] : by_class) {
      if (LeaveOutIfMet(folder, NameOf(folder))) {
        continue;
      }
      TRIBUTARY_ASSIGN_OR_RETURN(const FolderListing listing, ListFolder(folder, [](absl::string_view name) -> std::string {
                                   return IsImageName(name) ? "" : kNoImage;
                                 }));
      const std::string name = PrintableUtf8(NameOf(folder));
      for (const std::string& left : listing.left_out) {
        left_out_.push_back(absl::StrCat(name, "/", left));
      }
      for (const std::string& inner : listing.folders) {
        left_out_.push_back(absl::StrCat(name, "/", PrintableUtf8(NameOf(inner)), " (a folder in a folder)"));
      }
      for (const std::string& path : listing.files) {
        if (!LeaveOutIfMet(path, absl::StrCat(NameOf(folder), "/", NameOf(path)))) {
          files_.emplace_back(label, path);
        }
      }
    }
    return absl::OkStatus();
  }

  absl::StatusOr<int64_t> ClassOf(const std::string& name) const {
    const std::string folder = absl::StrCat("data folder ", options_.folder, ": its folder '", PrintableUtf8(name), "' is ");
    if (!wanted_.names.empty()) {
      const auto found = absl::c_find(wanted_.names, name);
      if (found != wanted_.names.end()) {
        return found - wanted_.names.begin();
      }
      return WithRefusal(DataError(absl::StrCat(folder, "none of the run's classes (data.classes), ",
                                                PrintableUtf8(absl::StrJoin(wanted_.names, ", ").substr(0, 400)),
                                                ": give it its class's name, or move it out of the data folder")),
                         "a folder of images is none of the run's classes (data.classes)");
    }
    int64_t number = 0;
    if (absl::c_all_of(name, [](unsigned char c) { return absl::ascii_isdigit(c); }) && absl::SimpleAtoi(name, &number) &&
        number < wanted_.classes) {
      return number;
    }
    const std::string range =
        absl::StrCat("no number from 0 to ", wanted_.classes - 1, ", as classes have that the run does not name (data.classes)");
    return WithRefusal(DataError(absl::StrCat(folder, range, ": give it its class's number, or move it out of the data folder")),
                       absl::StrCat("a folder of images is ", range));
  }

  absl::Status AddFile(const std::string& path, int64_t label) {
    const absl::StatusOr<std::string> bytes = ReadFile(path, kMaxImageFileBytes);
    if (absl::IsResourceExhausted(bytes.status())) {
      return DataError(absl::StrCat(PrintableUtf8(path), " is longer than ", kMaxImageFileBytes >> 20, " MiB: make it smaller"));
    }
    if (!bytes.ok()) {
      return DataError(bytes.status().message());
    }
    const absl::StatusOr<Raster> raster = DecodeImage(*bytes);
    if (!raster.ok()) {
      return About(path, raster.status());
    }
    Add({raster->height, raster->width, raster->channels, raster->pixels}, label);
    return absl::OkStatus();
  }

  absl::Status AddIdxFiles(const std::vector<std::string>& paths) {
    const bool has_training_set = absl::c_any_of(paths, [](const std::string& path) { return absl::StartsWith(NameOf(path), "train-"); });
    for (const std::string& path : paths) {
      const std::string name = NameOf(path);
      if (has_training_set && absl::StartsWith(name, "t10k-")) {
        left_out_.push_back(absl::StrCat(PrintableUtf8(name), " (MNIST's test set)"));
        continue;
      }
      if (IsIdxLabelsName(name)) {
        if (absl::c_none_of(paths, [&](const std::string& other) { return IdxLabelsName(NameOf(other)) == name && other != path; })) {
          left_out_.push_back(absl::StrCat(PrintableUtf8(name), " (labels of no images)"));
        }
        continue;
      }
      if (LeaveOutIfMet(path, name)) {
        continue;
      }
      TRIBUTARY_ASSIGN_OR_RETURN(const std::string bytes, ReadDataBytes(path, budget_));
      const absl::StatusOr<IdxImages> idx = ParseIdxImages(bytes);
      if (!idx.ok()) {
        return About(path, idx.status());
      }
      std::string label_bytes;
      absl::Span<const uint8_t> labels;
      if (has_classes()) {
        const std::string labels_path = absl::StrCat(options_.folder, "/", IdxLabelsName(name));
        TRIBUTARY_ASSIGN_OR_RETURN(label_bytes, ReadDataBytes(labels_path, budget_));
        TRIBUTARY_ASSIGN_OR_RETURN(labels, LabelsOf(labels_path, label_bytes, idx->count));
      }
      TRIBUTARY_RETURN_IF_ERROR(Reserve(static_cast<uint64_t>(idx->count), path));
      const auto pixels = static_cast<size_t>(idx->height * idx->width);
      for (size_t i = 0; i < static_cast<size_t>(idx->count); ++i) {
        Add({idx->height, idx->width, 1, idx->pixels.subspan(i * pixels, pixels)}, labels.empty() ? 0 : labels[i]);
      }
      budget_ += bytes.size() + label_bytes.size();
    }
    return absl::OkStatus();
  }

  absl::StatusOr<absl::Span<const uint8_t>> LabelsOf(const std::string& path, absl::string_view bytes, int64_t images) const {
    const absl::StatusOr<absl::Span<const uint8_t>> labels = ParseIdxLabels(bytes);
    if (!labels.ok()) {
      return About(path, labels.status());
    }
    if (static_cast<int64_t>(labels->size()) != images) {
      return DataError(
          absl::StrCat(PrintableUtf8(path), " has ", labels->size(), " labels for ", images, " images: fetch both files anew"));
    }
    const auto beyond = absl::c_find_if(*labels, [this](uint8_t label) { return label >= wanted_.classes; });
    if (beyond != labels->end()) {
      const std::string told = absl::StrCat(" is not below ", wanted_.classes, ", the classes of the run's model");
      return WithRefusal(DataError(absl::StrCat(PrintableUtf8(path), ": label ", *beyond, " of image ", beyond - labels->begin(), told)),
                         absl::StrCat("a label", told));
    }
    return *labels;
  }

  absl::Status TooMuch(absl::string_view path) const {
    return DataError(absl::StrCat(PrintableUtf8(path), ": with it the data folder takes more than ", kMaxDataBytes >> 20,
                                  " MiB, which are kept in memory: move part of it elsewhere"));
  }

  // For so many images more, of `path`.
  absl::Status Reserve(uint64_t count, absl::string_view path) {
    const uint64_t bytes = static_cast<uint64_t>(wanted_.shape.values()) + kBytesBesidePixels;
    if (count > budget_ / bytes) {
      return TooMuch(path);
    }
    budget_ -= count * bytes;
    images_.pixels.reserve(images_.pixels.size() + count * static_cast<size_t>(wanted_.shape.values()));
    return absl::OkStatus();
  }

  void Add(const RasterView& image, int64_t label) {
    AppendScaled(image, wanted_.shape, images_.pixels);
    const uint64_t place = images_.count();
    (IsHeldOut(place, options_.validation_fraction) ? images_.validation : images_.training).push_back(place);
    if (has_classes()) {
      images_.labels.push_back(label);
    }
  }

  std::string DescribeClasses() const {
    if (!has_classes() || wanted_.classes > kMostClassesCounted) {
      return "";
    }
    std::vector<uint64_t> counts(static_cast<size_t>(wanted_.classes), 0);
    for (const int64_t label : images_.labels) {
      ++counts[static_cast<size_t>(label)];
    }
    std::string text;
    for (size_t i = 0; i < counts.size(); ++i) {
      absl::StrAppend(&text, i == 0 ? "; " : ", ", counts[i], " of class ",
                      wanted_.names.empty() ? absl::StrCat(i) : PrintableUtf8(wanted_.names[i]));
    }
    return text;
  }

  absl::StatusOr<std::unique_ptr<DataSource>> Finish() {
    const uint64_t count = images_.count();
    const std::string left_out = DescribeLeftOut(FilesOf({{}, {}, std::move(left_out_)}));
    if (count == 0) {
      return WithRefusal(
          DataError(absl::StrCat("data folder ", options_.folder, " holds no images: put ",
                                 has_classes() ? absl::StrCat("a folder for each class (",
                                                              wanted_.names.empty() ? "0, 1 and so on" : PrintableUtf8(wanted_.names[0]),
                                                              ") into it, with .png or .jpg files")
                                               : ".png or .jpg files into it",
                                 left_out)),
          "this site holds no images (the run's data.kind)");
    }
    if (images_.training.empty() || images_.validation.empty()) {
      return WithRefusal(DataError(absl::StrCat("data folder ", options_.folder, ": too few images: ", count, " with validation_fraction ",
                                                options_.validation_fraction, " leave ", images_.training.size(), " for training and ",
                                                images_.validation.size(), " for validation: add images", left_out)),
                         absl::StrCat("too few images for the run's data.validation_fraction, ", options_.validation_fraction));
    }
    DataDescription description{absl::StrCat(count, " images (", images_.training.size(), " for training, ", images_.validation.size(),
                                             " for validation), scaled to ", wanted_.shape.width, " x ", wanted_.shape.height,
                                             wanted_.shape.channels == 1 ? " in grey, " : " in colour, ",
                                             FormatBytes(static_cast<double>(images_.pixels.size())), DescribeClasses(), left_out),
                                /*columns_digest=*/""};
    return std::make_unique<ImageSource>(std::move(images_), wanted_, options_, std::move(description));
  }

  const DataOptions& options_;
  const ImageOptions& wanted_;
  uint64_t budget_ = kMaxDataBytes;  // without what is held at the moment
  std::set<std::pair<dev_t, ino_t>> met_;
  std::vector<std::string> left_out_;
  std::vector<std::pair<int64_t, std::string>> files_;  // PNG and JPEG, with their classes
  Images images_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<DataSource>> MakeImageSource(const DataOptions& options, const ImageOptions& images) {
  return ImageReader(options, images).Read();
}

}  // namespace tributary::worker
