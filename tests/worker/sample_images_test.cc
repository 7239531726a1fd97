// Grids of images from a diffusion model.
#include "worker/sample_images.h"

#include <limits>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "optim/model_spec.h"
#include "tests/worker/model_reference.h"
#include "worker/data/image_file.h"

namespace tributary::worker {
namespace {

using ::testing::HasSubstr;

TEST(SampleImages, AGridIsAFunctionOfItsSeedAndOfEachImagesPlace) {
  const optim::DdpmModel spec{.size = 8, .channels = 1, .stages = {4, 4}, .steps = 20};
  const auto layout = optim::MakeLayout(spec);
  ASSERT_TRUE(layout.ok()) << layout.status();
  const std::vector<float> theta = RandomTheta(*layout);
  const SampleImagesOptions options = {.rows = 2, .columns = 3, .steps = 5, .seed = 1, .threads = 1};
  const auto grid = SampleImages(spec, theta, options);
  ASSERT_TRUE(grid.ok()) << grid.status();
  EXPECT_EQ(*grid, SampleImages(spec, theta, options).value());
  const auto raster = DecodeImage(*grid);
  ASSERT_TRUE(raster.ok()) << raster.status();
  // Eight pixels, enlarged to 64, and two of a border beside each.
  EXPECT_EQ(raster->height, 2 * 66 + 2);
  EXPECT_EQ(raster->width, 3 * 66 + 2);
  SampleImagesOptions other = options;
  other.seed = 2;
  EXPECT_NE(*grid, SampleImages(spec, theta, other).value());
}

TEST(SampleImages, OptionsBeyondTheirBoundsAreRefused) {
  const optim::DdpmModel spec{.size = 8, .channels = 1, .stages = {4}, .steps = 20};
  const auto layout = optim::MakeLayout(spec);
  ASSERT_TRUE(layout.ok()) << layout.status();
  const std::vector<float> theta = RandomTheta(*layout);
  EXPECT_THAT(SampleImages(spec, theta, {.rows = 65}).status().message(), HasSubstr("rows and columns are from 1 to 64"));
  EXPECT_THAT(SampleImages(spec, theta, {.steps = 21}).status().message(), HasSubstr("21 steps, where the model has 20"));
  EXPECT_FALSE(SampleImages(spec, std::vector<float>(3), {.rows = 1, .columns = 1, .steps = 2}).ok());
}

TEST(SampleImages, AModelOfFewStepsTakesAllOfThemWhereNobodySaysHowMany) {
  const optim::DdpmModel spec{.size = 8, .channels = 1, .stages = {4}, .steps = 3};
  const auto layout = optim::MakeLayout(spec);
  ASSERT_TRUE(layout.ok()) << layout.status();
  const std::vector<float> theta = RandomTheta(*layout);
  const auto grid = SampleImages(spec, theta, {.rows = 1, .columns = 1});
  ASSERT_TRUE(grid.ok()) << grid.status();
  EXPECT_EQ(*grid, SampleImages(spec, theta, {.rows = 1, .columns = 1, .steps = 3}).value());
}

TEST(SampleImages, WeightsThatAreNotFiniteAreRefused) {
  const optim::DdpmModel spec{.size = 8, .channels = 1, .stages = {4}, .steps = 20};
  const auto layout = optim::MakeLayout(spec);
  ASSERT_TRUE(layout.ok()) << layout.status();
  const std::vector<float> theta(static_cast<size_t>(layout->size()), std::numeric_limits<float>::quiet_NaN());
  EXPECT_THAT(SampleImages(spec, theta, {.rows = 1, .columns = 1}).status().message(), HasSubstr("noise that is not finite"));
}

}  // namespace
}  // namespace tributary::worker
