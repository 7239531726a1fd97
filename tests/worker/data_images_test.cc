// Images as training and validation batches: what is read of a folder, how it is scaled, and what broken files get.
#include <turbojpeg.h>

#include <filesystem>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/exit_codes.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/common/test_folder.h"
#include "worker/data/data_source.h"
#include "worker/data/idx.h"
#include "worker/data/image_file.h"
#include "worker/data/image_scale.h"
#include "worker/refusal.h"

namespace tributary::worker {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Bytes = std::vector<uint8_t>;

std::string PngOf(const Raster& raster) {
  return EncodePng(raster).value();
}

// One colour all over.
std::string GreyPng(uint8_t value, int64_t side = 2) {
  return PngOf({side, side, 1, Bytes(static_cast<size_t>(side * side), value)});
}

std::string JpegOf(const Raster& raster) {
  tjhandle handle = tjInitCompress();
  unsigned char* bytes = nullptr;
  unsigned long size = 0;
  const bool grey = raster.channels == 1;
  EXPECT_EQ(tjCompress2(handle, raster.pixels.data(), static_cast<int>(raster.width), 0, static_cast<int>(raster.height),
                        grey ? TJPF_GRAY : TJPF_RGB, &bytes, &size, grey ? TJSAMP_GRAY : TJSAMP_444, 95, 0),
            0);
  const std::string jpeg(reinterpret_cast<const char*>(bytes), size);
  tjFree(bytes);
  tjDestroy(handle);
  return jpeg;
}

Bytes Scaled(const RasterView& image, const ImageShape& shape) {
  Bytes pixels;
  AppendScaled(image, shape, pixels);
  return pixels;
}

DataOptions OptionsFor(const TestFolder& folder) {
  return {folder.path(), /*validation_fraction=*/0.25, /*evaluation_batches=*/4, /*batch_size=*/3};
}

// Of 1 x 1 pixels, in grey.
ImageOptions TwoClasses(std::vector<std::string> names = {}) {
  return {{1, 1, 1}, 2, std::move(names)};
}

std::string ErrorOf(const TestFolder& folder, const ImageOptions& images) {
  const auto source = MakeImageSource(OptionsFor(folder), images);
  EXPECT_EQ(ExitCodeOf(source.status()), ExitCode::kData);
  return std::string(source.status().message());
}

// With `files` a folder for each class, of images of one brightness.
void WriteClass(const TestFolder& folder, const std::string& name, int files, uint8_t value) {
  std::filesystem::create_directory(folder.File(name));
  for (int i = 0; i < files; ++i) {
    folder.Write(absl::StrCat(name, "/", i, ".png"), GreyPng(value));
  }
}

TEST(ImageFile, APngIsReadAsItWasWritten) {
  const Raster colours = {2, 1, 3, {10, 20, 30, 250, 0, 128}};
  const auto read = DecodeImage(PngOf(colours));
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->pixels, colours.pixels);
  EXPECT_EQ(read->height, 2);
  EXPECT_THAT(DecodeImage(GreyPng(7, 1))->pixels, ElementsAre(7, 7, 7));
}

TEST(ImageFile, AJpegIsReadAlmostAsItWasWritten) {
  for (const int64_t channels : {1, 3}) {
    const auto read = DecodeImage(JpegOf({16, 8, channels, Bytes(static_cast<size_t>(16 * 8 * channels), 100)}));
    ASSERT_TRUE(read.ok()) << read.status();
    EXPECT_EQ(read->height, 16);
    EXPECT_EQ(read->width, 8);
    for (const uint8_t value : read->pixels) {
      EXPECT_NEAR(value, 100, 2);
    }
  }
}

TEST(ImageFile, MorePixelsThanAreAllowedAreRefusedBeforeTheyAreDecoded) {
  EXPECT_THAT(DecodeImage(GreyPng(0, 8), 63).status().message(), HasSubstr("is of 8 x 8 pixels; at most 63 are read"));
  EXPECT_THAT(DecodeImage(JpegOf({8, 8, 1, Bytes(64)}), 63).status().message(), HasSubstr("is of 8 x 8 pixels"));
  // A header alone, of four gigapixels.
  std::string bomb = GreyPng(0);
  bomb.replace(16, 8, std::string("\0\1\0\0\0\1\0\0", 8));
  EXPECT_FALSE(DecodeImage(bomb).ok());
}

TEST(ImageFile, AFileThatIsCutShortCannotBeRead) {
  const std::string png = GreyPng(5, 16);
  const std::string jpeg = JpegOf({16, 16, 1, Bytes(256, 5)});
  for (const std::string& whole : {png, jpeg}) {
    for (const size_t left : {size_t{9}, whole.size() / 2, whole.size() - 20}) {
      EXPECT_FALSE(DecodeImage(absl::string_view(whole).substr(0, left)).ok()) << left << " of " << whole.size();
    }
  }
  EXPECT_THAT(DecodeImage(png.substr(0, 40)).status().message(), HasSubstr("is a PNG that cannot be read ("));
  EXPECT_THAT(DecodeImage(jpeg.substr(0, 200)).status().message(), HasSubstr("is a JPEG that cannot be read ("));
  EXPECT_THAT(DecodeImage("GIF89a").status().message(), HasSubstr("is no PNG or JPEG"));
}

TEST(ImageScale, ASmallerPixelIsTheMeanOfTheAreaThatItCovers) {
  const Bytes pixels = {0, 30, 60, 90, 120, 150};  // 2 rows of 3
  EXPECT_THAT(Scaled({2, 3, 1, pixels}, {1, 1, 1}), ElementsAre(75));
  // Half of the middle column goes to each side.
  EXPECT_THAT(Scaled({2, 3, 1, pixels}, {2, 2, 1}), ElementsAre(10, 50, 100, 140));
}

TEST(ImageScale, ALargerPixelLiesBetweenItsNeighbours) {
  EXPECT_THAT(Scaled({1, 2, 1, Bytes{0, 100}}, {1, 4, 1}), ElementsAre(0, 25, 75, 100));
  EXPECT_THAT(Scaled({1, 1, 1, Bytes{9}}, {2, 2, 1}), ElementsAre(9, 9, 9, 9));
}

TEST(ImageScale, ChannelsComeOutermostAndGreyIsWhatTheEyeSees) {
  const Bytes pixels = {1, 2, 3, 4, 5, 6};
  EXPECT_THAT(Scaled({1, 2, 3, pixels}, {1, 2, 3}), ElementsAre(1, 4, 2, 5, 3, 6));
  EXPECT_THAT(Scaled({1, 1, 1, Bytes{7}}, {1, 1, 3}), ElementsAre(7, 7, 7));
  EXPECT_THAT(Scaled({1, 2, 3, Bytes{255, 0, 0, 0, 255, 0}}, {1, 2, 1}), ElementsAre(76, 150));
}

TEST(ImageSource, TheFoldersNamesAreTheClassesInTheRunsOrder) {
  TestFolder folder;
  WriteClass(folder, "cat", 4, 255);
  WriteClass(folder, "ant", 8, 0);
  const auto source = MakeImageSource(OptionsFor(folder), TwoClasses({"cat", "ant"}));
  ASSERT_TRUE(source.ok()) << source.status();
  EXPECT_THAT((*source)->TrainingTargetCounts(), ElementsAre(3, 6));
  CounterRng rng("test");
  const Batch batch = (*source)->DrawTraining(rng, 32);
  EXPECT_EQ(batch.rows, 32);
  for (size_t i = 0; i < 32; ++i) {
    EXPECT_EQ(batch.features[i], batch.targets[i] == 0 ? 1.0f : -1.0f);
  }
}

TEST(ImageSource, ClassesWithoutNamesAreNumbers) {
  TestFolder folder;
  WriteClass(folder, "01", 4, 9);
  WriteClass(folder, "0", 4, 0);
  const auto source = MakeImageSource(OptionsFor(folder), TwoClasses());
  ASSERT_TRUE(source.ok()) << source.status();
  EXPECT_THAT((*source)->TrainingTargetCounts(), ElementsAre(3, 3));
}

TEST(ImageSource, ValidationIsAFairShareOfEveryClassAndAlwaysTheSame) {
  TestFolder folder;
  WriteClass(folder, "0", 8, 0);
  WriteClass(folder, "1", 8, 255);
  for (int time = 0; time < 2; ++time) {
    const auto source = MakeImageSource(OptionsFor(folder), TwoClasses());
    ASSERT_TRUE(source.ok()) << source.status();
    ASSERT_EQ((*source)->validation_batches(), 2u);
    EXPECT_THAT((*source)->Validation(0).targets, ElementsAre(0, 0, 1));
    EXPECT_THAT((*source)->Validation(1).targets, ElementsAre(1));
    EXPECT_EQ((*source)->Validation(0).draw, (*source)->Validation(0).draw);
    EXPECT_NE((*source)->Validation(0).draw, (*source)->Validation(1).draw);
  }
}

TEST(ImageSource, WithoutClassesImagesLieInTheFolderOrInAnyFolderOfIt) {
  TestFolder folder;
  folder.Write("a.PNG", GreyPng(1));
  folder.Write("b.jpeg", JpegOf({8, 8, 1, Bytes(64, 3)}));
  WriteClass(folder, "more", 2, 7);
  const auto source = MakeImageSource(OptionsFor(folder), {{1, 1, 3}, 0, {}});
  ASSERT_TRUE(source.ok()) << source.status();
  EXPECT_EQ((*source)->training_samples(), 3u);
  EXPECT_THAT((*source)->TrainingTargetCounts(), IsEmpty());
  const Batch batch = (*source)->Validation(0);
  EXPECT_THAT(batch.targets, IsEmpty());
  EXPECT_EQ(batch.features.size(), 3u);
}

TEST(ImageSource, TheSameImageUnderTwoNamesIsReadOnce) {
  TestFolder folder;
  WriteClass(folder, "2024", 4, 7);
  std::filesystem::create_directory_symlink(folder.File("2024"), folder.File("latest"));
  std::filesystem::create_directory_symlink(folder.path(), folder.File("up"));
  std::filesystem::create_hard_link(folder.File("2024/0.png"), folder.File("2024/again.png"));
  std::filesystem::create_symlink(folder.File("2024/1.png"), folder.File("loose.png"));
  const auto source = MakeImageSource(OptionsFor(folder), {{1, 1, 1}, 0, {}});
  ASSERT_TRUE(source.ok()) << source.status();
  EXPECT_THAT((*source)->description().text, HasSubstr("4 images (3 for training"));
  EXPECT_THAT((*source)->description().text,
              HasSubstr("not read: 2024/1.png (the same as another one), 2024/again.png (the same as another one), latest (the same as "
                        "another one), up (the same as another one)"));
}

TEST(ImageSource, SaysWhatWasReadAndWhatWasLeftOut) {
  TestFolder folder;
  WriteClass(folder, "cat", 3, 0);
  WriteClass(folder, "dog", 1, 0);
  folder.Write("loose.png", GreyPng(0));
  folder.Write("cat/notes.txt", "");
  folder.Write("cat/.DS_Store", "");
  std::filesystem::create_directory(folder.File("dog/old"));
  std::filesystem::create_symlink("/nonexistent", folder.File("dog/gone.png"));
  const auto source = MakeImageSource(OptionsFor(folder), TwoClasses({"cat", "dog"}));
  ASSERT_TRUE(source.ok()) << source.status();
  EXPECT_EQ((*source)->description().text,
            "4 images (3 for training, 1 for validation), scaled to 1 x 1 in grey, 4 B; 3 of class cat, 1 of class dog; not read: "
            "cat/.DS_Store (hidden), cat/notes.txt (not .png, .jpg or .jpeg), dog/gone.png (a link that leads to no file), "
            "dog/old (a folder in a folder), loose.png (in no class's folder)");
}

TEST(ImageSource, AFolderThatIsNoClassIsRefused) {
  TestFolder folder;
  WriteClass(folder, "cat", 4, 0);
  WriteClass(folder, "secret", 4, 0);
  EXPECT_THAT(ErrorOf(folder, TwoClasses({"cat", "dog"})),
              HasSubstr("its folder 'secret' is none of the run's classes (data.classes), cat, dog: give it its class's name"));
  EXPECT_THAT(ErrorOf(folder, TwoClasses()), HasSubstr("its folder 'cat' is no number from 0 to 1"));
  EXPECT_EQ(RefusalOf(MakeImageSource(OptionsFor(folder), TwoClasses({"cat", "dog"})).status()),
            "a folder of images is none of the run's classes (data.classes)");
}

TEST(ImageSource, ABrokenFileIsNamed) {
  TestFolder folder;
  WriteClass(folder, "0", 4, 0);
  folder.Write("0/x.png", GreyPng(0).substr(0, 40));
  EXPECT_THAT(ErrorOf(folder, TwoClasses()), HasSubstr("/0/x.png is a PNG that cannot be read ("));
  EXPECT_EQ(RefusalOf(MakeImageSource(OptionsFor(folder), TwoClasses()).status()), "this site cannot train the run; its own log says why");
}

TEST(ImageSource, AFolderWithoutImagesSaysWhatBelongsThere) {
  TestFolder folder;
  folder.Write("table.csv", "a,b\n");
  EXPECT_THAT(ErrorOf(folder, TwoClasses({"cat", "dog"})), HasSubstr("holds no images: put a folder for each class (cat"));
  EXPECT_THAT(ErrorOf(folder, {{1, 1, 1}, 0, {}}), HasSubstr("holds no images: put .png or .jpg files into it; not read: table.csv"));
  folder.Write("a.png", GreyPng(0));
  EXPECT_THAT(ErrorOf(folder, {{1, 1, 1}, 0, {}}), HasSubstr("too few images: 1 with validation_fraction 0.25 leave 1 for training"));
}

// MNIST's format, of 2 x 1 pixels; each label is that of its image's first pixel.
std::string IdxImagesOf(const Bytes& pixels) {
  const std::string count(1, static_cast<char>(pixels.size() / 2));
  return absl::StrCat(std::string("\0\0\x08\x03\0\0\0", 7), count, std::string("\0\0\0\2\0\0\0\1", 8),
                      std::string(pixels.begin(), pixels.end()));
}

std::string IdxLabelsOf(const Bytes& labels) {
  return absl::StrCat(std::string("\0\0\x08\x01\0\0\0", 7), std::string(1, static_cast<char>(labels.size())),
                      std::string(labels.begin(), labels.end()));
}

TEST(ImageSource, FilesOfMnistsFormatAreReadWithTheirLabels) {
  TestFolder folder;
  folder.Write("train-images-idx3-ubyte", IdxImagesOf({0, 0, 200, 100, 255, 255, 1, 1}));
  folder.Write("train-labels-idx1-ubyte", IdxLabelsOf({1, 0, 1, 0}));
  folder.Write("a-labels.idx1-ubyte", IdxLabelsOf({0}));
  const auto source = MakeImageSource(OptionsFor(folder), TwoClasses());
  ASSERT_TRUE(source.ok()) << source.status();
  EXPECT_THAT((*source)->TrainingTargetCounts(), ElementsAre(1, 2));
  EXPECT_THAT((*source)->description().text, HasSubstr("not read: a-labels.idx1-ubyte (labels of no images)"));
  EXPECT_THAT((*source)->Validation(0).features, ElementsAre(1 / 127.5f - 1.0f));
}

TEST(ImageSource, MnistsTestSetIsLeftOutBesideItsTrainingSet) {
  TestFolder folder;
  folder.Write("t10k-images-idx3-ubyte", IdxImagesOf({0, 0, 1, 1, 2, 2, 3, 3}));
  folder.Write("t10k-labels-idx1-ubyte", IdxLabelsOf({1, 0, 1, 0}));
  EXPECT_EQ((*MakeImageSource(OptionsFor(folder), TwoClasses()))->training_samples(), 3u) << "alone it is read";
  folder.Write("train-images-idx3-ubyte", IdxImagesOf({0, 0, 1, 1, 2, 2, 3, 3}));
  folder.Write("train-labels-idx1-ubyte", IdxLabelsOf({1, 0, 1, 0}));
  const auto source = MakeImageSource(OptionsFor(folder), TwoClasses());
  ASSERT_TRUE(source.ok()) << source.status();
  EXPECT_EQ((*source)->training_samples(), 3u);
  EXPECT_THAT((*source)->description().text,
              HasSubstr("not read: t10k-images-idx3-ubyte (MNIST's test set), t10k-labels-idx1-ubyte (MNIST's test set)"));
}

TEST(ImageSource, LabelsThatDoNotFitTheirImagesAreRefused) {
  TestFolder folder;
  folder.Write("a-images-idx3-ubyte", IdxImagesOf({0, 0, 1, 1, 2, 2, 3, 3}));
  EXPECT_THAT(ErrorOf(folder, TwoClasses()), HasSubstr("a-labels-idx1-ubyte"));
  folder.Write("a-labels-idx1-ubyte", IdxLabelsOf({0, 1}));
  EXPECT_THAT(ErrorOf(folder, TwoClasses()), HasSubstr("a-labels-idx1-ubyte has 2 labels for 4 images"));
  folder.Write("a-labels-idx1-ubyte", IdxLabelsOf({0, 1, 2, 0}));
  EXPECT_THAT(ErrorOf(folder, TwoClasses()), HasSubstr("label 2 of image 2 is not below 2"));
  folder.Write("a-images-idx3-ubyte", "\x1f\x8b");
  EXPECT_THAT(ErrorOf(folder, TwoClasses()), HasSubstr("a-images-idx3-ubyte is compressed: unpack it"));
}

TEST(Idx, AnotherLengthThanTheHeaderSaysIsRefused) {
  const std::string whole = IdxImagesOf({0, 0, 1, 1});
  EXPECT_TRUE(ParseIdxImages(whole).ok());
  EXPECT_THAT(ParseIdxImages(whole.substr(0, whole.size() - 1)).status().message(),
              HasSubstr("says that it holds 2 x 2 x 1 bytes, and holds 3"));
  EXPECT_THAT(ParseIdxImages(whole + "x").status().message(), HasSubstr("and holds 5"));
  EXPECT_TRUE(ParseIdxImages(whole, 2).ok());
  EXPECT_THAT(ParseIdxImages(whole, 1).status().message(), HasSubstr("is of 1 x 2 pixels; at most 1 are read"));
  EXPECT_THAT(ParseIdxLabels(whole).status().message(), HasSubstr("is no IDX file of unsigned bytes in 1 dimension"));
  // Extents whose product is beyond 64 bits.
  EXPECT_FALSE(ParseIdxImages(absl::StrCat(std::string("\0\0\x08\x03", 4), std::string(12, '\xff'))).ok());
}

}  // namespace
}  // namespace tributary::worker
