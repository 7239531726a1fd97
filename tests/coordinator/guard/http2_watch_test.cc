// What a client may do inside HTTP/2, and what ends its connection.
#include "coordinator/guard/http2_watch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <string>

#include "tests/coordinator/guard/frames.h"

namespace tributary::coordinator {
namespace {

using ::testing::HasSubstr;

const absl::Time kStart = absl::FromUnixSeconds(1);

absl::Span<const uint8_t> Bytes(const std::string& text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

std::shared_ptr<MessageBudget> AnyBudget() {
  static std::atomic<uint64_t> in_all{0};
  return std::make_shared<MessageBudget>(&in_all);
}

absl::Status LookAt(Http2Watch& watch, const std::string& bytes, absl::Time now = kStart) {
  return watch.Look(Bytes(bytes), now);
}

// The error of the n-th of these frames, one after the other at one moment; OK if there is none.
absl::Status Flood(const std::string& frame, int times) {
  Http2Watch watch(AnyBudget());
  absl::Status status = LookAt(watch, Preface());
  for (int i = 0; i < times && status.ok(); ++i) {
    status = LookAt(watch, frame);
  }
  return status;
}

TEST(Http2WatchTest, ACallInAnyPiecesIsLetThrough) {
  const std::string call = Preface() + MakeFrame(kSettings, 12, 0, 0) + MakeFrame(kHeaders, 300, 0) +
                           MakeFrame(kContinuation, 200, kEndHeaders) + MakeData(MakeMessage(5000)) + MakeFrame(kData, 0, kEndStream) +
                           MakeFrame(kPing, 8, 0, 0) + MakeFrame(kHeaders, 40, kEndHeaders, 3);
  for (const size_t piece : {size_t{1}, size_t{7}, size_t{10}, call.size()}) {
    Http2Watch watch(AnyBudget());
    for (size_t at = 0; at < call.size(); at += piece) {
      ASSERT_TRUE(LookAt(watch, call.substr(at, piece)).ok()) << piece << " at " << at;
    }
  }
}

TEST(Http2WatchTest, WhatIsNotHttp2EndsAtItsFirstWrongByte) {
  Http2Watch watch(AnyBudget());
  EXPECT_EQ(LookAt(watch, "PRI * HTTP/1.1").code(), absl::StatusCode::kInvalidArgument);
}

TEST(Http2WatchTest, ResetsInARowEndTheConnection) {
  EXPECT_TRUE(Flood(MakeFrame(kHeaders, 20, kEndHeaders) + MakeFrame(kReset, 4), 900).ok());
  const absl::Status status = Flood(MakeFrame(kHeaders, 20, kEndHeaders) + MakeFrame(kReset, 4), 1100);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), HasSubstr("too many resets"));
}

TEST(Http2WatchTest, ResetsCountForTheNextConnectionOfTheIdentityToo) {
  const auto shared = std::make_shared<StreamBudget>();
  const auto resets_let_through = [&shared] {
    Http2Watch watch(AnyBudget(), shared);
    EXPECT_TRUE(LookAt(watch, Preface()).ok());
    int resets = 0;
    while (LookAt(watch, MakeFrame(kHeaders, 20, kEndHeaders) + MakeFrame(kReset, 4)).ok()) {
      ++resets;
    }
    return resets;
  };
  EXPECT_EQ(resets_let_through(), 1008);
  EXPECT_EQ(resets_let_through(), 8) << "its own";
}

TEST(Http2WatchTest, TheSameResetsOverTimeAreNobodysConcern) {
  Http2Watch watch(AnyBudget());
  ASSERT_TRUE(LookAt(watch, Preface()).ok());
  for (int i = 0; i < 5000; ++i) {
    ASSERT_TRUE(LookAt(watch, MakeFrame(kHeaders, 20, kEndHeaders) + MakeFrame(kReset, 4), kStart + i * absl::Milliseconds(11)).ok()) << i;
  }
}

TEST(Http2WatchTest, HeadersWithoutEndAreCutOff) {
  Http2Watch watch(AnyBudget());
  ASSERT_TRUE(LookAt(watch, Preface() + MakeFrame(kHeaders, 10'000, 0)).ok());
  ASSERT_TRUE(LookAt(watch, MakeFrame(kContinuation, 10'000, 0)).ok());
  ASSERT_TRUE(LookAt(watch, MakeFrame(kContinuation, 10'000, 0)).ok());
  EXPECT_EQ(LookAt(watch, MakeFrame(kContinuation, 10'000, 0)).code(), absl::StatusCode::kResourceExhausted);
}

TEST(Http2WatchTest, AHeaderBlockMayNotBeInterruptedOrContinueElsewhereOrWithNothing) {
  for (const std::string& after : {MakeFrame(kPing, 8, 0, 0), MakeFrame(kContinuation, 5, 0, 3), MakeFrame(kContinuation, 0)}) {
    Http2Watch watch(AnyBudget());
    EXPECT_EQ(LookAt(watch, Preface() + MakeFrame(kHeaders, 10, 0) + after).code(), absl::StatusCode::kInvalidArgument);
  }
  Http2Watch watch(AnyBudget());
  EXPECT_EQ(LookAt(watch, Preface() + MakeFrame(kContinuation, 10, kEndHeaders)).code(), absl::StatusCode::kInvalidArgument);
}

TEST(Http2WatchTest, FloodsOfWhatMovesNothingEndTheConnection) {
  for (const std::string& frame : {MakeFrame(kPing, 8, 0, 0), MakeFrame(kSettings, 6, 0, 0), MakeFrame(kPriority, 5), MakeFrame(kData, 0),
                                   MakeFrame(static_cast<Frame>(77), 3)}) {
    EXPECT_TRUE(Flood(frame, 1000).ok()) << int{frame[3]};
    EXPECT_EQ(Flood(frame, 3000).code(), absl::StatusCode::kResourceExhausted) << int{frame[3]};
  }
}

TEST(Http2WatchTest, OnlyDataMayBeLong) {
  Http2Watch watch(AnyBudget());
  EXPECT_TRUE(LookAt(watch, Preface() + MakeFrame(kData, 1 << 20)).ok());
  EXPECT_EQ(LookAt(watch, MakeFrame(kGoAway, 20'000, 0, 0)).code(), absl::StatusCode::kInvalidArgument);
}

TEST(Http2WatchTest, DataWithPaddingIsNobodys) {
  EXPECT_EQ(Flood(MakeFrame(kData, 20, 0x8), 1).code(), absl::StatusCode::kInvalidArgument);
}

TEST(Http2WatchTest, AClientMayNotPush) {
  EXPECT_EQ(Flood(MakeFrame(kPush, 8), 1).code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace tributary::coordinator
