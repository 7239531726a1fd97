#include <bit>
#include <cmath>
#include <limits>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "optim/dct.h"
#include "optim/encoder.h"
#include "optim/sparse_modes.h"
#include "tests/optim/random_updates.h"

namespace tributary::optim {
namespace {

using ::testing::HasSubstr;

const RoundParameters kRound{.round = 1, .learning_rate = 0.01f, .local_steps = 1};

Layout OneMatrix(int64_t rows, int64_t cols) {
  return *Layout::Create({{.name = "w", .shape = {rows, cols}}});
}

std::unique_ptr<UpdateEncoder> EncoderOf(const OptimizerOptions& options, const Layout& layout, int threads = 1) {
  return MakeSparseEncoder(options, layout, threads);
}

// What an update decodes to, in fp64, from the definition of the transform.
std::vector<double> Decoded(const OptimizerOptions& options, const Layout& layout, absl::string_view payload) {
  const ChunkPlan plan(options, layout);
  SparseValues values;
  EXPECT_TRUE(DecodePayload(plan.update_shape(), payload, values).ok());
  std::vector<double> decoded(layout.size(), 0.0);
  for (size_t s = 0; s < plan.segments().size(); ++s) {
    const Segment& segment = plan.segments()[s];
    for (int64_t chunk = 0; chunk < segment.chunk_count; ++chunk) {
      std::vector<double> tile(kTilePlaces, 0.0);
      for (uint32_t e = values.chunk_begin[segment.first_chunk + chunk]; e < values.chunk_begin[segment.first_chunk + chunk + 1]; ++e) {
        const double v = options.mode == Mode::kDemo ? static_cast<double>(std::bit_cast<float>(values.value[e]))
                                                     : static_cast<double>(values.scales[s]) * values.value[e];
        if (!segment.transformed) {
          tile[values.index[e]] += v;
          continue;
        }
        const int b = values.index[e] / segment.cols;
        const int d = values.index[e] % segment.cols;
        for (int i = 0; i < segment.rows; ++i) {
          for (int j = 0; j < segment.cols; ++j) {
            tile[i * kTileEdge + j] +=
                v * std::ldexp(BasisOf(segment.rows).integer[b][i] * BasisOf(segment.cols).integer[d][j], -2 * kBasisBits);
          }
        }
      }
      segment.ForEachPatch(chunk, [&](const Patch& patch) {
        for (int row = 0; row < patch.rows; ++row) {
          for (int i = 0; i < patch.cols; ++i) {
            decoded[patch.offset + row * patch.stride + i] = tile[patch.place + row * kTileEdge + i];
          }
        }
      });
    }
  }
  return decoded;
}

bool Trainable(const Layout& layout, int64_t at) {
  for (const Block& block : layout.blocks()) {
    if (at >= block.offset && at < block.offset + block.size) {
      return !block.frozen;
    }
  }
  return false;
}

TEST(SparseEncoderTest, WhatIsSentAndWhatStaysSumToWhatCameIn) {
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    Dice dice(seed);
    const Layout layout = RandomLayout(dice);
    OptimizerOptions options = RandomOptions(dice);
    options.beta = 1.0f;
    options.clip_norm = 0;
    options.k = std::min(options.k, 64u);
    SCOPED_TRACE(absl::StrCat("seed ", seed, ": ", Describe(options, layout)));
    auto encoder = EncoderOf(options, layout);
    std::vector<double> came_in(layout.size(), 0.0);
    std::vector<double> sent(layout.size(), 0.0);
    const double gain = options.mode == Mode::kDemo ? static_cast<double>(kRound.learning_rate) : 1.0;
    for (int round = 0; round < 4; ++round) {
      const std::vector<float> direction = RandomFloats(dice, layout.size());
      for (size_t i = 0; i < direction.size(); ++i) {
        came_in[i] += gain * direction[i];
      }
      auto payload = encoder->Encode(kRound, direction);
      ASSERT_TRUE(payload.ok()) << payload.status();
      EXPECT_LE(payload->size(), SparsePayloadBounds(options, layout).update);
      const bool included = round != 1;
      if (included) {
        const std::vector<double> decoded = Decoded(options, layout, *payload);
        for (size_t i = 0; i < sent.size(); ++i) {
          sent[i] += decoded[i];
        }
      }
      encoder->Settle(included ? UpdateFate::kIncluded : UpdateFate::kNotIncluded);
    }
    // The residual, read through what is left in a saved state: its floats end before the checksum.
    const std::string state = encoder->SaveState();
    const char* floats = state.data() + state.size() - sizeof(uint32_t) - layout.size() * sizeof(float);
    for (int64_t i = 0; i < layout.size(); ++i) {
      float residual = 0;
      std::memcpy(&residual, floats + i * sizeof(float), sizeof(float));
      if (!Trainable(layout, i)) {
        ASSERT_EQ(residual, 0.0f);
      } else {
        ASSERT_NEAR(residual + sent[i], came_in[i], 2e-5 * gain) << "parameter " << i;
      }
    }
  }
}

TEST(SparseEncoderTest, LateUpdatesStayWhole) {
  const Layout layout = OneMatrix(64, 64);
  OptimizerOptions options = Defaults(Mode::kDistro);
  options.beta = 1.0f;
  auto encoder = EncoderOf(options, layout);
  Dice dice(1);
  const std::vector<float> gradient = RandomFloats(dice, layout.size(), 0.01f);
  const std::vector<float> nothing(layout.size(), 0.0f);
  const std::string first = *encoder->Encode(kRound, gradient);
  encoder->Settle(UpdateFate::kNotIncluded);
  EXPECT_EQ(*encoder->Encode(kRound, nothing), first);
}

TEST(SparseEncoderTest, ResultDoesNotDependOnThreads) {
  Dice dice(5);
  const Layout layout = *Layout::Create({{.name = "a", .shape = {300, 700}}, {.name = "b", .shape = {77}}, {.name = "c", .shape = {9001}}});
  const OptimizerOptions options = Defaults(Mode::kDistro);
  const std::vector<float> gradient = RandomFloats(dice, layout.size());
  auto one = EncoderOf(options, layout, 1);
  const std::string expected = *one->Encode(kRound, gradient);
  one->Settle(UpdateFate::kIncluded);
  for (int threads = 2; threads <= 16; ++threads) {
    auto several = EncoderOf(options, layout, threads);
    EXPECT_EQ(*several->Encode(kRound, gradient), expected) << threads;
    several->Settle(UpdateFate::kIncluded);
    EXPECT_EQ(several->SaveState(), one->SaveState()) << threads;
  }
}

TEST(SparseEncoderTest, NotANumberIsCaughtAndTheResidualIsUntouched) {
  const Layout layout = OneMatrix(64, 64);
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(), -1e30f}) {
    auto encoder = EncoderOf(Defaults(Mode::kDistro), layout);
    Dice dice(1);
    std::vector<float> gradient = RandomFloats(dice, layout.size());
    (void)*encoder->Encode(kRound, gradient);
    encoder->Settle(UpdateFate::kIncluded);
    const std::string before = encoder->SaveState();
    gradient[1234] = bad;
    const auto payload = encoder->Encode(kRound, gradient);
    EXPECT_EQ(payload.status().code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(payload.status().message(), HasSubstr("norm of the gradient"));
    EXPECT_EQ(encoder->SaveState(), before);
    gradient[1234] = 0;
    EXPECT_TRUE(encoder->Encode(kRound, gradient).ok()) << "a skipped round leaves nothing pending";
  }
}

TEST(SparseEncoderTest, AnUnsettledUpdateIsNotOverwritten) {
  const Layout layout = OneMatrix(64, 64);
  auto encoder = EncoderOf(Defaults(Mode::kDistro), layout);
  const std::vector<float> gradient(layout.size(), 1.0f);
  ASSERT_TRUE(encoder->Encode(kRound, gradient).ok());
  EXPECT_EQ(encoder->Encode(kRound, gradient).status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST(SparseEncoderTest, ADirectionOfAnotherSizeIsRefused) {
  const Layout layout = OneMatrix(64, 64);
  auto encoder = EncoderOf(Defaults(Mode::kDistro), layout);
  EXPECT_EQ(encoder->Encode(kRound, std::vector<float>(5)).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(SparseEncoderTest, GradientsOfZeroSendNothing) {
  const Layout layout = OneMatrix(64, 64);
  for (const Mode mode : {Mode::kDemo, Mode::kDistro, Mode::kLocal}) {
    const OptimizerOptions options = Defaults(mode);
    auto encoder = EncoderOf(options, layout);
    const std::string payload = *encoder->Encode(kRound, std::vector<float>(layout.size(), 0.0f));
    SparseValues values;
    ASSERT_TRUE(DecodePayload(ChunkPlan(options, layout).update_shape(), payload, values).ok());
    EXPECT_TRUE(values.index.empty());
    encoder->Settle(UpdateFate::kIncluded);
    EXPECT_EQ(encoder->ResidualNorm(), 0.0);
  }
}

TEST(SparseEncoderTest, ClippingBoundsWhatEntersTheResidual) {
  const Layout layout = OneMatrix(64, 64);
  OptimizerOptions options = Defaults(Mode::kDistro);
  options.clip_norm = 0.5f;
  auto encoder = EncoderOf(options, layout);
  (void)*encoder->Encode(kRound, std::vector<float>(layout.size(), 3.0f));
  encoder->Settle(UpdateFate::kNotIncluded);
  EXPECT_NEAR(encoder->ResidualNorm(), 0.5, 1e-6);
}

TEST(SparseEncoderTest, ResumesFromItsSavedState) {
  Dice dice(3);
  const Layout layout = *Layout::Create({{.name = "a", .shape = {130, 70}}, {.name = "b", .shape = {77}}});
  for (const Mode mode : {Mode::kDemo, Mode::kDistro, Mode::kLocal}) {
    auto first = EncoderOf(Defaults(mode), layout);
    (void)*first->Encode(kRound, RandomFloats(dice, layout.size()));
    first->Settle(UpdateFate::kIncluded);
    auto second = EncoderOf(Defaults(mode), layout);
    ASSERT_TRUE(second->RestoreState(first->SaveState()).ok());
    const std::vector<float> next = RandomFloats(dice, layout.size());
    EXPECT_EQ(*second->Encode(kRound, next), *first->Encode(kRound, next));
  }
}

TEST(SparseEncoderTest, APendingUpdateIsSettledAfterARestartAsWithoutOne) {
  Dice dice(4);
  const Layout layout = *Layout::Create({{.name = "a", .shape = {130, 70}}, {.name = "b", .shape = {77}}});
  for (const Mode mode : {Mode::kDemo, Mode::kDistro, Mode::kLocal}) {
    for (const bool included : {true, false}) {
      auto first = EncoderOf(Defaults(mode), layout);
      (void)*first->Encode(kRound, RandomFloats(dice, layout.size()));
      auto second = EncoderOf(Defaults(mode), layout);
      const std::string saved = first->SaveState();
      ASSERT_TRUE(second->RestoreState(saved).ok());
      EXPECT_EQ(second->SaveState(), saved);
      EXPECT_EQ(second->Encode(kRound, RandomFloats(dice, layout.size())).status().code(), absl::StatusCode::kFailedPrecondition);
      first->Settle(included ? UpdateFate::kIncluded : UpdateFate::kNotIncluded);
      second->Settle(included ? UpdateFate::kIncluded : UpdateFate::kNotIncluded);
      EXPECT_NE(second->SaveState(), saved);
      EXPECT_EQ(second->SaveState(), first->SaveState());
    }
  }
}

TEST(SparseEncoderTest, DamagedOrForeignStatesAreRefused) {
  const Layout layout = OneMatrix(64, 64);
  auto encoder = EncoderOf(Defaults(Mode::kDistro), layout);
  Dice dice(6);
  (void)*encoder->Encode(kRound, RandomFloats(dice, layout.size()));
  const std::string state = encoder->SaveState();
  for (size_t at = 0; at < state.size(); at += 97) {
    std::string damaged = state;
    damaged[at] = static_cast<char>(damaged[at] ^ 1);
    EXPECT_EQ(encoder->RestoreState(damaged).code(), absl::StatusCode::kDataLoss) << at;
    EXPECT_EQ(encoder->RestoreState(state.substr(0, at)).code(), absl::StatusCode::kDataLoss) << at;
  }
  EXPECT_EQ(encoder->RestoreState(EncoderOf(Defaults(Mode::kLocal), layout)->SaveState()).code(), absl::StatusCode::kDataLoss);
  const Layout other = OneMatrix(64, 65);
  EXPECT_EQ(encoder->RestoreState(EncoderOf(Defaults(Mode::kDistro), other)->SaveState()).code(), absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace tributary::optim
