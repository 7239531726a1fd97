// Messages that have begun and not ended: whose they are, how many bytes they may have, and how long they may take.
#include "coordinator/guard/open_streams.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <string>

#include "coordinator/guard/http2_watch.h"
#include "tests/coordinator/guard/frames.h"

namespace tributary::coordinator {
namespace {

const absl::Time kStart = absl::FromUnixSeconds(1);
const std::string kCall = MakeFrame(kHeaders, 20, kEndHeaders);

absl::Span<const uint8_t> Bytes(const std::string& text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

class OpenStreamsTest : public ::testing::Test {
 protected:
  OpenStreamsTest() { EXPECT_TRUE(Sent(Preface()).ok()); }

  absl::Status Sent(const std::string& bytes, absl::Time now = kStart) { return watch_->Look(Bytes(bytes), now); }
  void Answered(const std::string& bytes) { watch_->LookDown(Bytes(bytes)); }

  std::atomic<uint64_t> held_{0};
  std::unique_ptr<Http2Watch> watch_ = std::make_unique<Http2Watch>(std::make_shared<MessageBudget>(&held_, 10'000));
};

TEST_F(OpenStreamsTest, AMessageIsHeldUntilItIsWholeWhateverItsPieces) {
  const std::string messages = MakeMessage(300) + MakeMessage(0) + MakeMessage(5000);
  for (const size_t piece : {size_t{1}, size_t{6}, size_t{304}, messages.size()}) {
    ASSERT_TRUE(Sent(kCall).ok());
    for (size_t at = 0; at < messages.size(); at += piece) {
      ASSERT_TRUE(Sent(MakeData(messages.substr(at, piece))).ok());
      const size_t end = std::min(at + piece, messages.size());
      const size_t begun = end < 305 ? 0 : end < 310 ? 305 : end < messages.size() ? 310 : messages.size();
      EXPECT_EQ(held_, end - begun) << at << " + " << piece;
    }
  }
}

TEST_F(OpenStreamsTest, MessagesWithoutTheirLastByteEndTheConnectionOnceTheyAreTooMuch) {
  const std::string most = MakeMessage(2000).substr(0, 2004);
  for (uint32_t stream = 1; stream < 9; stream += 2) {
    ASSERT_TRUE(Sent(MakeFrame(kHeaders, 20, kEndHeaders, stream) + MakeData(most, 0, stream)).ok()) << stream;
  }
  EXPECT_EQ(Sent(MakeFrame(kHeaders, 20, kEndHeaders, 9) + MakeData(most, 0, 9)).code(), absl::StatusCode::kResourceExhausted);
  watch_.reset();
  EXPECT_EQ(held_, 0U) << "what a connection held goes with it";
}

TEST_F(OpenStreamsTest, AStreamThatEitherSideEndsHoldsNothing) {
  const std::string begun = kCall + MakeData(MakeMessage(100).substr(0, 50));
  ASSERT_TRUE(Sent(begun + MakeFrame(kReset, 4)).ok());
  EXPECT_EQ(held_, 0U);
  ASSERT_TRUE(Sent(begun + MakeFrame(kData, 0, kEndStream)).ok());
  EXPECT_EQ(held_, 0U);
  for (const std::string& answer : {MakeFrame(kHeaders, 30, kEndHeaders | kEndStream), MakeFrame(kReset, 4)}) {
    ASSERT_TRUE(Sent(begun).ok());
    EXPECT_EQ(held_, 50U);
    Answered(answer);
    EXPECT_EQ(held_, 0U);
    ASSERT_TRUE(Sent(MakeData(std::string(60, 'x'))).ok()) << "it was on its way";
    EXPECT_EQ(held_, 0U);
  }
}

TEST_F(OpenStreamsTest, AMessageHasItsTimeAndTheStreamBetweenMessagesAllTheTimeThereIs) {
  const absl::Duration patience = OpenStreams::kPatience;
  const absl::Duration moment = absl::Seconds(1);
  ASSERT_TRUE(Sent(kCall).ok());
  EXPECT_TRUE(watch_->LookAtTime(kStart + patience - moment).ok());
  EXPECT_EQ(watch_->LookAtTime(kStart + patience).code(), absl::StatusCode::kResourceExhausted) << "no first message";

  ASSERT_TRUE(Sent(MakeData(MakeMessage(100)), kStart + moment).ok());
  const absl::Time later = kStart + absl::Hours(100);
  EXPECT_TRUE(watch_->LookAtTime(later).ok()) << "a session may be silent";

  const std::string slow = MakeMessage(4096);
  ASSERT_TRUE(Sent(MakeData(slow.substr(0, 3)), later).ok());
  EXPECT_TRUE(watch_->LookAtTime(later + patience - moment).ok());
  const absl::Time known = later + patience - moment;
  ASSERT_TRUE(Sent(MakeData(slow.substr(3, 4000)), known).ok());
  EXPECT_TRUE(watch_->LookAtTime(known + patience + absl::Seconds(3)).ok()) << "four seconds more, for its length";
  EXPECT_EQ(watch_->LookAtTime(known + patience + absl::Seconds(4)).code(), absl::StatusCode::kResourceExhausted);
}

TEST(MessageBudgetTest, WhatAllShareIsBoundedAndEachConnectionHasItsOwn) {
  std::atomic<uint64_t> in_all{MessageBudget::kMostOfAll - 100};
  MessageBudget budget(&in_all);
  EXPECT_TRUE(budget.Take(100, 100));
  EXPECT_TRUE(budget.Take(MessageBudget::kGranted - 100, MessageBudget::kGranted)) << "its own";
  EXPECT_FALSE(budget.Take(1, MessageBudget::kGranted + 1));
  EXPECT_TRUE(budget.Take(1, 1)) << "of another connection";
  budget.GiveBack(MessageBudget::kGranted + 2);
  EXPECT_EQ(in_all, MessageBudget::kMostOfAll - 100);

  std::atomic<uint64_t> empty{0};
  MessageBudget alone(&empty);
  EXPECT_TRUE(alone.Take(MessageBudget::kMostOfOne, MessageBudget::kMostOfOne));
  EXPECT_FALSE(alone.Take(1, MessageBudget::kMostOfOne + 1));
  EXPECT_TRUE(alone.Take(1000, 1000)) << "a thief has taken all, and the owner's connection goes on";
}

}  // namespace
}  // namespace tributary::coordinator
