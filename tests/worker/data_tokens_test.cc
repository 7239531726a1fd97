// Numbers of tokens as training and validation batches, and what bad files get.
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/bytes.h"
#include "common/exit_codes.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/common/test_folder.h"
#include "worker/data/data_source.h"
#include "worker/refusal.h"

namespace tributary::worker {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

DataOptions OptionsFor(const TestFolder& folder) {
  DataOptions options;
  options.folder = folder.path();
  options.validation_fraction = 0.25;
  options.evaluation_batches = 2;
  options.batch_size = 3;
  return options;
}

constexpr TokenOptions kShorts{.token_bytes = 2, .context = 4, .vocabulary = 50000};
constexpr TokenOptions kInts{.token_bytes = 4, .context = 4, .vocabulary = 100000};

template <typename Token>
std::string Numbers(Token first, int count) {
  std::string bytes;
  for (int i = 0; i < count; ++i) {
    AppendLittleEndian<Token>(static_cast<Token>(first + i), bytes);
  }
  return bytes;
}

// As llm.c begins its files.
std::string Header(int32_t magic, int32_t version, int32_t tokens) {
  std::string bytes;
  for (const int32_t value : {magic, version, tokens}) {
    AppendLittleEndian(value, bytes);
  }
  bytes.resize(1024, '\0');
  return bytes;
}

absl::Status ErrorOf(const TestFolder& folder, const TokenOptions& tokens) {
  const auto source = MakeTokenSource(OptionsFor(folder), tokens);
  EXPECT_FALSE(source.ok());
  EXPECT_EQ(ExitCodeOf(source.status()), ExitCode::kData);
  return source.status();
}

TEST(TokenSource, TargetsAreTheTokensAfterTheTokens) {
  TestFolder folder;
  folder.Write("train.bin", Numbers<uint16_t>(40000, 100));
  const auto source = MakeTokenSource(OptionsFor(folder), kShorts);
  ASSERT_TRUE(source.ok()) << source.status();
  CounterRng rng("test");
  const Batch batch = (*source)->DrawTraining(rng, 5);
  EXPECT_EQ(batch.rows, 5);
  ASSERT_EQ(batch.tokens.size(), 20u);
  ASSERT_EQ(batch.targets.size(), 20u);
  for (size_t i = 0; i < 20; ++i) {
    EXPECT_EQ(batch.targets[i], batch.tokens[i] + 1);
    EXPECT_GE(batch.tokens[i], 40000);
  }
}

TEST(TokenSource, TheLastShareOfEveryFileIsForValidationAndNeverTrainedOn) {
  TestFolder folder;
  folder.Write("1.bin", Numbers<uint32_t>(70000, 20));
  folder.Write("2.bin", Numbers<uint32_t>(100, 12));
  const auto source = MakeTokenSource(OptionsFor(folder), kInts);
  ASSERT_TRUE(source.ok()) << source.status();
  EXPECT_EQ((*source)->training_samples(), (15u + 9u) / 4);
  std::set<int64_t> trained;
  CounterRng rng("test");
  for (int i = 0; i < 200; ++i) {
    const Batch batch = (*source)->DrawTraining(rng, 3);
    trained.insert(batch.targets.begin(), batch.targets.end());
  }
  EXPECT_EQ(trained.count(70014), 1u);
  EXPECT_EQ(trained.count(70015), 0u);
  EXPECT_EQ(trained.count(108), 1u);
  EXPECT_EQ(trained.count(109), 0u);
  EXPECT_THAT((*source)->Validation(0).tokens,
              ElementsAre(70015, 70016, 70017, 70018, 70016, 70017, 70018, 70019, 70017, 70018, 70019, 109));
  EXPECT_EQ((*source)->TrainingTargetCounts()[70003], 1u);
  EXPECT_EQ((*source)->description().text, "2 files, 32 tokens (24 for training, 8 for validation)");
}

TEST(TokenSource, TheHeaderOfLlmCIsNoToken) {
  TestFolder folder;
  folder.Write("shorts.bin", Header(20240520, 1, 40) + Numbers<uint16_t>(1, 40));
  const auto shorts = MakeTokenSource(OptionsFor(folder), kShorts);
  ASSERT_TRUE(shorts.ok()) << shorts.status();
  EXPECT_EQ((*shorts)->training_samples(), 30u / 4);
  EXPECT_EQ((*shorts)->TrainingTargetCounts()[0], 0u);
  folder.Write("shorts.bin", Header(20240801, 7, 40) + Numbers<uint32_t>(1, 40));
  EXPECT_TRUE(MakeTokenSource(OptionsFor(folder), kInts).ok());
}

TEST(TokenSource, AHeaderThatSpeaksOfAnotherFileIsRefused) {
  TestFolder folder;
  folder.Write("a.bin", Header(20240520, 1, 41) + Numbers<uint16_t>(1, 40));
  EXPECT_THAT(ErrorOf(folder, kShorts).message(), HasSubstr("a.bin: its header says that 41 tokens follow, and 80 bytes do"));
  folder.Write("a.bin", Header(20240520, 1, -1) + Numbers<uint16_t>(1, 40));
  EXPECT_THAT(ErrorOf(folder, kShorts).message(), HasSubstr("-1 tokens follow"));
  folder.Write("a.bin", Header(20240520, 1, 40) + Numbers<uint16_t>(1, 40));
  const absl::Status other = ErrorOf(folder, kInts);
  EXPECT_THAT(other.message(), HasSubstr("its header says that a token has 2 bytes, and the run's data.token_bytes is 4"));
  EXPECT_THAT(RefusalOf(other), HasSubstr("tokens have 2 bytes each"));
}

TEST(TokenSource, AHeaderOfAnotherVersionIsNotReadAsTokens) {
  TestFolder folder;
  folder.Write("a.bin", Header(20240520, 2, 40) + Numbers<uint16_t>(1, 40));
  EXPECT_THAT(ErrorOf(folder, kShorts).message(), HasSubstr("a.bin: its header has the magic number 20240520 and version 2; "));
}

TEST(TokenSource, AHeaderWithNothingBehindItHasNoTokens) {
  TestFolder folder;
  folder.Write("a.bin", Header(20240520, 1, 0));
  EXPECT_THAT(ErrorOf(folder, kShorts).message(), HasSubstr("too few tokens: 0 for training"));
}

TEST(TokenSource, ANumberThatTheModelDoesNotKnowIsNamedWithItsPlace) {
  TestFolder folder;
  folder.Write("a.bin", Numbers<uint16_t>(49990, 40));
  const absl::Status refused = ErrorOf(folder, kShorts);
  EXPECT_THAT(refused.message(),
              HasSubstr(folder.File("a.bin") + ": token 10 (at byte 20) is 50000, and the run's model knows 0 to 49999"));
  EXPECT_THAT(RefusalOf(refused), HasSubstr("not all below the run's vocab_size, 50000"));
  EXPECT_THAT(RefusalOf(refused), ::testing::Not(HasSubstr("a.bin"))) << "others learn nothing of the site's files";
  folder.Write("a.bin", Header(20240520, 1, 40) + Numbers<uint16_t>(49961, 40));
  EXPECT_THAT(ErrorOf(folder, kShorts).message(), HasSubstr("token 39 (at byte 1102) is 50000")) << "in the validation split";
}

TEST(TokenSource, AFileThatEndsWithinATokenIsRefused) {
  TestFolder folder;
  folder.Write("a.bin", Numbers<uint16_t>(1, 41));
  EXPECT_THAT(ErrorOf(folder, kInts).message(), HasSubstr("82 bytes are no whole number of tokens of 4 bytes"));
}

TEST(TokenSource, OnlyBinFilesAreRead) {
  TestFolder folder;
  folder.Write("a.txt", "text");
  EXPECT_THAT(ErrorOf(folder, kShorts).message(), HasSubstr("holds no .bin files"));
  folder.Write("a.bin", Numbers<uint16_t>(1, 40));
  const auto source = MakeTokenSource(OptionsFor(folder), kShorts);
  ASSERT_TRUE(source.ok()) << source.status();
  EXPECT_THAT((*source)->description().text, HasSubstr("not read: a.txt (not .bin)"));
}

TEST(TokenSource, TooFewTokensSayHowManyAreNeeded) {
  TestFolder folder;
  folder.Write("a.bin", Numbers<uint16_t>(1, 10));
  const absl::Status refused = ErrorOf(folder, kShorts);
  EXPECT_THAT(refused.message(), HasSubstr("too few tokens: 2 for validation"));
  EXPECT_THAT(RefusalOf(refused), HasSubstr("one sample takes 5 (the run's context is 4"));
  folder.Write("a.bin", "");
  EXPECT_THAT(ErrorOf(folder, kShorts).message(), HasSubstr("too few tokens: 0 for training"));
}

}  // namespace
}  // namespace tributary::worker
