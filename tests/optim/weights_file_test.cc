#include "optim/weights_file.h"

#include <sys/stat.h>

#include <limits>
#include <map>
#include <string>

#include "common/exit_codes.h"
#include "common/files.h"
#include "common/safetensors.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/common/test_folder.h"

namespace tributary::optim {
namespace {

using ::testing::HasSubstr;

const std::vector<float>& Theta() {
  static const auto& theta = *new std::vector<float>{1, 2, 3, -4, 5e-30f, 0, -0.5f};
  return theta;
}

Layout TestLayout() {
  return *Layout::Create({{"a", {2, 3}}, {"b", {}}, {"c", {0, 4}}});
}

class WeightsFileTest : public ::testing::Test {
 protected:
  std::string Write(const std::string& bytes) {
    const std::string path = directory_.File("model.safetensors");
    EXPECT_TRUE(WriteFileAtomically(path, bytes).ok());
    return path;
  }
  // Of the file with these tensors in place of the layout's.
  std::string ErrorOf(std::vector<NamedTensor> tensors) {
    const absl::Status error = ReadWeights(Write(*EncodeSafetensors(tensors, {})), TestLayout()).status();
    EXPECT_EQ(error.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(error.message(), HasSubstr(directory_.File("model.safetensors: ")));
    return std::string(error.message());
  }
  absl::Span<const float> Values(size_t begin, size_t size) { return absl::MakeConstSpan(Theta()).subspan(begin, size); }

  TestFolder directory_;
};

TEST_F(WeightsFileTest, ThetaComesBack) {
  EXPECT_EQ(ReadWeights(Write(*EncodeWeights(TestLayout(), Theta(), {})), TestLayout()).value(), Theta());
}

TEST_F(WeightsFileTest, ItsMetadataSaysWhatItHolds) {
  Digest hash{};
  hash[0] = 0xab;
  const absl::StatusOr<SafetensorsFile> file = DecodeSafetensors(*EncodeWeights(TestLayout(), Theta(), {"r-1", 12, hash}));
  ASSERT_TRUE(file.ok()) << file.status();
  const std::map<std::string, std::string> expected = {
      {"format", "pt"}, {"tributary.round", "12"}, {"tributary.run", "r-1"}, {"tributary.state_hash", DigestHex(hash)}};
  EXPECT_EQ(file->metadata, expected);
}

TEST_F(WeightsFileTest, WhatElseIsSaidOfItIsReadFromItsHeader) {
  const std::string path = Write(*EncodeWeights(TestLayout(), Theta(), {.run_id = "r-1", .sections = {{"tributary.model", "{}"}}}));
  EXPECT_EQ(ReadWeightsMetadata(path)->at("tributary.model"), "{}");
  EXPECT_EQ(ExitCodeOf(ReadWeightsMetadata(Write("{}")).status()), ExitCode::kDamaged);
}

TEST_F(WeightsFileTest, TheOrderOfTensorsDoesNotMatter) {
  const std::vector<NamedTensor> tensors = {{"c", {0, 4}, {}}, {"b", {}, Values(6, 1)}, {"a", {2, 3}, Values(0, 6)}};
  EXPECT_EQ(ReadWeights(Write(*EncodeSafetensors(tensors, {})), TestLayout()).value(), Theta());
}

TEST_F(WeightsFileTest, ShardsBecomeOneFileWithoutWhatIsLeftOut) {
  const SharedBytes first = InMemory(*EncodeSafetensors({{{"b", {}, Values(6, 1)}, {"rotary.inv_freq", {1}, Values(0, 1)}}}, {}));
  const SharedBytes second = InMemory(*EncodeSafetensors({{{"c", {0, 4}, {}}, {"a", {2, 3}, Values(0, 6)}}}, {}));
  const auto left_out = [](absl::string_view name) { return name == "rotary.inv_freq"; };
  const auto merged = MergeWeights({first, second}, TestLayout(), left_out);
  ASSERT_TRUE(merged.ok()) << merged.status();
  EXPECT_EQ(ReadWeights(Write(*merged), TestLayout()).value(), Theta());
  EXPECT_THAT(MergeWeights({first}, TestLayout(), left_out).status().message(), HasSubstr("has no tensor a"));
  EXPECT_THAT(MergeWeights({first, second, first}, TestLayout(), left_out).status().message(), HasSubstr("tensor b is in two files"));
  EXPECT_THAT(MergeWeights({first, second}, TestLayout(), [](absl::string_view) { return false; }).status().message(),
              HasSubstr("has 4 tensors; the run's model has 3"));
}

TEST_F(WeightsFileTest, TheTensorThatDiffersIsNamed) {
  const NamedTensor a = {"a", {2, 3}, Values(0, 6)};
  const NamedTensor b = {"b", {}, Values(6, 1)};
  const NamedTensor c = {"c", {0, 4}, {}};
  EXPECT_THAT(ErrorOf({a, c}), HasSubstr("has no tensor b"));
  EXPECT_THAT(ErrorOf({{"a", {3, 2}, a.values}, b, c}), HasSubstr("tensor a has shape [3, 2]; the run's model has [2, 3]"));
  EXPECT_THAT(ErrorOf({a, b, c, {"d", {1}, b.values}}), HasSubstr("has 4 tensors; the run's model has 3"));
}

TEST_F(WeightsFileTest, WhatIsNoNumberIsRefusedWithItsPlace) {
  std::vector<float> theta = Theta();
  theta[4] = std::numeric_limits<float>::quiet_NaN();
  absl::Status error = ReadWeights(Write(*EncodeWeights(TestLayout(), theta, {})), TestLayout()).status();
  EXPECT_EQ(error.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(error.message(), HasSubstr("tensor a: its element 4 is nan, no finite number"));
  theta[4] = 0;
  theta[6] = -std::numeric_limits<float>::infinity();
  error = ReadWeights(Write(*EncodeWeights(TestLayout(), theta, {})), TestLayout()).status();
  EXPECT_THAT(error.message(), HasSubstr("tensor b: its element 0 is -inf, no finite number"));
}

TEST_F(WeightsFileTest, WhatIsNoRegularFileIsRefusedWithoutWaiting) {
  const std::string fifo = directory_.File("fifo");
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  EXPECT_EQ(ReadWeights(fifo, TestLayout()).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(WeightsFileTest, AFileThatIsNoneIsDamage) {
  const absl::Status error = ReadWeights(Write("not a model"), TestLayout()).status();
  EXPECT_EQ(error.code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(ExitCodeOf(error), ExitCode::kDamaged);
  EXPECT_EQ(ReadWeights(directory_.File("none"), TestLayout()).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(WeightsFileTest, ThetaOfAnotherSizeIsNotWritten) {
  EXPECT_EQ(EncodeWeights(TestLayout(), Values(0, 6), {}).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace tributary::optim
