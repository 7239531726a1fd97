// Text as training and validation batches, and what bad text gets.
#include <set>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/exit_codes.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/common/test_folder.h"
#include "worker/data/data_source.h"
#include "worker/data/spacing.h"
#include "worker/data/utf8.h"
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

std::string ErrorOf(const absl::StatusOr<std::unique_ptr<DataSource>>& source) {
  EXPECT_FALSE(source.ok());
  EXPECT_EQ(ExitCodeOf(source.status()), ExitCode::kData);
  return std::string(source.status().message());
}

TEST(TextSource, OthersAreToldThatTheContextIsTooLong) {
  TestFolder folder;
  folder.Write("a.txt", "abcdefgh");
  EXPECT_EQ(RefusalOf(MakeTextSource(OptionsFor(folder), 500).status()),
            "too little text for training: one sample takes 501 bytes (the run's context is 500, its validation_fraction 0.25)");
}

TEST(TextSource, TargetsAreTheBytesAfterTheTokens) {
  TestFolder folder;
  folder.Write("a.txt", "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz");
  const auto source = MakeTextSource(OptionsFor(folder), 5);
  ASSERT_TRUE(source.ok()) << source.status();
  CounterRng rng("test");
  const Batch batch = (*source)->DrawTraining(rng, 4);
  EXPECT_EQ(batch.rows, 4);
  ASSERT_EQ(batch.tokens.size(), 20u);
  ASSERT_EQ(batch.targets.size(), 20u);
  for (size_t i = 0; i < 20; ++i) {
    EXPECT_EQ(batch.targets[i], batch.tokens[i] == 'z' ? 'a' : batch.tokens[i] + 1);
  }
}

TEST(TextSource, TheLastShareOfEveryFileIsForValidationAndNeverTrainedOn) {
  TestFolder folder;
  folder.Write("1.txt", std::string(75, 'a') + std::string(25, 'A'));
  folder.Write("2.txt", std::string(30, 'b') + std::string(10, 'B'));
  const auto source = MakeTextSource(OptionsFor(folder), 4);
  ASSERT_TRUE(source.ok()) << source.status();
  EXPECT_EQ((*source)->training_samples(), (75u + 30u) / 4);
  std::set<int64_t> trained, evaluated;
  CounterRng rng("test");
  for (int i = 0; i < 200; ++i) {
    const Batch batch = (*source)->DrawTraining(rng, 3);
    trained.insert(batch.tokens.begin(), batch.tokens.end());
    trained.insert(batch.targets.begin(), batch.targets.end());
  }
  for (uint32_t i = 0; i < (*source)->validation_batches(); ++i) {
    const Batch batch = (*source)->Validation(i);
    evaluated.insert(batch.tokens.begin(), batch.tokens.end());
  }
  EXPECT_THAT(trained, ElementsAre('a', 'b'));
  EXPECT_THAT(evaluated, ElementsAre('A', 'B'));
  const std::vector<uint64_t> counts = (*source)->TrainingTargetCounts();
  EXPECT_EQ(counts['a'], 75u);
  EXPECT_EQ(counts['b'], 30u);
  EXPECT_EQ(counts['A'], 0u);
}

TEST(TextSource, TheSameKeyDrawsTheSameBatch) {
  TestFolder folder;
  std::string text;
  for (int i = 0; i < 400; ++i) {
    text += absl::StrCat(i, " ");
  }
  folder.Write("a.txt", text);
  const auto source = MakeTextSource(OptionsFor(folder), 16);
  ASSERT_TRUE(source.ok()) << source.status();
  CounterRng first("seed/site/1/0"), again("seed/site/1/0"), other("seed/site/1/1");
  const Batch a = (*source)->DrawTraining(first, 8);
  EXPECT_EQ(a.tokens, (*source)->DrawTraining(again, 8).tokens);
  EXPECT_NE(a.tokens, (*source)->DrawTraining(other, 8).tokens);
}

TEST(TextSource, ValidationWindowsReachFromTheFirstToTheLastByte) {
  TestFolder folder;
  folder.Write("a.txt", std::string(240, '-') + "(" + std::string(78, '.') + ")");
  const auto source = MakeTextSource(OptionsFor(folder), 8);
  ASSERT_TRUE(source.ok()) << source.status();
  ASSERT_EQ((*source)->validation_batches(), 2u);
  EXPECT_EQ((*source)->Validation(0).tokens.front(), '(');
  EXPECT_EQ((*source)->Validation(1).targets.back(), ')');
}

TEST(TextSource, FilesAreReadInTheOrderOfTheirNamesAndHiddenOnesAreNot) {
  TestFolder folder;
  folder.Write("b", "2222");
  folder.Write("a", "1111");
  folder.Write(".hidden", "\xff");
  DataOptions options = OptionsFor(folder);
  options.validation_fraction = 0.5;
  const auto source = MakeTextSource(options, 3);
  ASSERT_TRUE(source.ok()) << source.status();
  EXPECT_THAT((*source)->Validation(0).tokens, ElementsAre('1', '1', '2'));
}

TEST(TextSource, AnEmptyFolderSaysWhatToDo) {
  TestFolder folder;
  EXPECT_THAT(ErrorOf(MakeTextSource(OptionsFor(folder), 8)), HasSubstr("holds no files: put this site's data there"));
}

TEST(TextSource, AMissingFolderSaysWhichKeyNamesIt) {
  DataOptions options;
  options.folder = "/nonexistent/data";
  const std::string error = ErrorOf(MakeTextSource(options, 8));
  EXPECT_THAT(error, HasSubstr("/nonexistent/data: No such file or directory"));
  EXPECT_THAT(error, HasSubstr("`data` in worker.yaml"));
}

TEST(TextSource, TextThatIsNotUtf8NamesFileAndByte) {
  TestFolder folder;
  folder.Write("latin1.txt", "na\xc3\xafve caf\xe9 and more text");
  EXPECT_THAT(ErrorOf(MakeTextSource(OptionsFor(folder), 4)), HasSubstr(folder.File("latin1.txt") + ": byte 10 is not UTF-8"));
}

TEST(TextSource, Utf16AndFilesThatAreNoTextAreNamed) {
  TestFolder folder;
  folder.Write("notepad.txt", absl::string_view("\xfe\xff\0a", 4));
  EXPECT_THAT(ErrorOf(MakeTextSource(OptionsFor(folder), 4)), HasSubstr(folder.File("notepad.txt") + " is UTF-16: convert it"));
  folder.Write("notepad.txt", absl::string_view("a\0b\0", 4));
  EXPECT_THAT(ErrorOf(MakeTextSource(OptionsFor(folder), 4)), HasSubstr("notepad.txt: byte 1 is 0, as in UTF-16"));
}

TEST(TextSource, AByteOrderMarkIsNoText) {
  TestFolder folder;
  folder.Write("a.txt", "\xef\xbb\xbf" + std::string(40, 'x'));
  const auto source = MakeTextSource(OptionsFor(folder), 4);
  ASSERT_TRUE(source.ok()) << source.status();
  EXPECT_EQ((*source)->TrainingTargetCounts()[0xef], 0u);
}

TEST(TextSource, SaysWhatWasReadAndNamesOnlyAFewOfWhatWasLeftOut) {
  TestFolder folder;
  folder.Write("a.txt", std::string(40, 'x'));
  for (int i = 0; i < 12; ++i) {
    folder.Write(absl::StrCat(".hidden-", 10 + i), "");
  }
  const auto source = MakeTextSource(OptionsFor(folder), 4);
  ASSERT_TRUE(source.ok()) << source.status();
  const DataDescription& description = (*source)->description();
  EXPECT_THAT(description.text,
              HasSubstr("1 file, 40 B of text (30 B for training, 10 B for validation); not read: .hidden-10 (hidden), "));
  EXPECT_THAT(description.text, HasSubstr(" and 2 more"));
  EXPECT_EQ(description.columns_digest, "");
}

TEST(TextSource, TooLittleTextSaysHowMuchIsNeeded) {
  TestFolder folder;
  folder.Write("a.txt", "short text, all of it");
  const std::string error = ErrorOf(MakeTextSource(OptionsFor(folder), 8));
  EXPECT_THAT(error, HasSubstr("too little text: 5 bytes for validation"));
  EXPECT_THAT(error, HasSubstr("one sample takes 9"));
}

TEST(EvenSpacing, PicksAllPlacesOnceWhereThereAreFewerThanAskedFor) {
  const EvenSpacing spacing(5, 3, 4);
  ASSERT_EQ(spacing.batches(), 2u);
  EXPECT_EQ(spacing.RowsOf(0), 4u);
  ASSERT_EQ(spacing.RowsOf(1), 1u);
  std::vector<uint64_t> places;
  for (uint32_t b = 0; b < 2; ++b) {
    for (uint32_t r = 0; r < spacing.RowsOf(b); ++r) {
      places.push_back(spacing.Place(b, r));
    }
  }
  EXPECT_THAT(places, ElementsAre(0, 1, 2, 3, 4));
}

TEST(EvenSpacing, ASinglePlaceIsTheFirst) {
  const EvenSpacing spacing(1, 8, 8);
  ASSERT_EQ(spacing.batches(), 1u);
  EXPECT_EQ(spacing.Place(0, 0), 0u);
}

TEST(Utf8, AcceptsEveryLengthOfCharacter) {
  const absl::string_view text = "a\xc2\x80\xe0\xa0\x80\xed\x9f\xbf\xf0\x90\x80\x80\xf4\x8f\xbf\xbf";
  EXPECT_EQ(ValidUtf8Prefix(text), text.size());
}

TEST(Utf8, StopsAtOverlongFormsSurrogatesAndTruncation) {
  for (const absl::string_view bad :
       {"\xc0\xaf", "\xe0\x9f\xbf", "\xed\xa0\x80", "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xe2\x82", "\x80"}) {
    EXPECT_EQ(ValidUtf8Prefix(absl::StrCat("ok", bad)), 2u);
  }
}

TEST(Utf8, PrintableTextHasNoControlCharactersAndNoBrokenOnes) {
  EXPECT_EQ(PrintableUtf8("a\tb\n\xc3\xa9"), "a\tb\n\xc3\xa9");
  EXPECT_EQ(PrintableUtf8("\x1b[2J\xff"), "\xef\xbf\xbd[2J\xef\xbf\xbd");
  EXPECT_EQ(PrintableUtf8("\xc2\x9b"), "\xef\xbf\xbd");
}

}  // namespace
}  // namespace tributary::worker
