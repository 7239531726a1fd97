#include "coordinator/rpc/upload_spools.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "common/clock.h"

namespace tributary::coordinator {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

v1::UploadHeader HeaderFor(const std::string& payload, uint64_t round = 1) {
  v1::UploadHeader header;
  header.mutable_id()->set_run_id("run");
  header.mutable_id()->set_round(round);
  header.mutable_id()->set_sha256(DigestBytes(Sha256(payload)));
  header.set_total_bytes(payload.size());
  return header;
}

v1::UploadFrame FrameAt(const std::string& payload, uint64_t offset, uint64_t length) {
  v1::UploadFrame frame;
  frame.set_offset(offset);
  frame.set_data(payload.substr(offset, length));
  frame.set_crc32c(Crc32c(frame.data()));
  return frame;
}

std::string Payload(size_t bytes, char filler = 'x') {
  return std::string(bytes, filler);
}

TEST(UploadSpool, IsCompleteWithItsLastFrame) {
  const std::string payload = Payload(300);
  UploadSpool spool(HeaderFor(payload));
  ASSERT_TRUE(spool.Append(FrameAt(payload, 0, 200)).ok());
  EXPECT_FALSE(spool.complete());
  ASSERT_TRUE(spool.Append(FrameAt(payload, 200, 100)).ok());
  EXPECT_TRUE(spool.complete());
  EXPECT_EQ(std::move(spool).TakeContent()->bytes, payload);
}

TEST(UploadSpool, RefusesAFrameThatIsNotWhereItStands) {
  const std::string payload = Payload(300);
  UploadSpool spool(HeaderFor(payload));
  ASSERT_TRUE(spool.Append(FrameAt(payload, 0, 100)).ok());
  const absl::Status status = spool.Append(FrameAt(payload, 200, 100));
  EXPECT_TRUE(absl::IsOutOfRange(status));
  EXPECT_THAT(status.message(), HasSubstr("100 bytes have arrived"));
}

TEST(UploadSpool, KeepsWhatCameBeforeACorruptedFrame) {
  const std::string payload = Payload(300);
  UploadSpool spool(HeaderFor(payload));
  ASSERT_TRUE(spool.Append(FrameAt(payload, 0, 100)).ok());
  v1::UploadFrame frame = FrameAt(payload, 100, 100);
  (*frame.mutable_data())[7] ^= 1;
  EXPECT_TRUE(absl::IsDataLoss(spool.Append(frame)));
  EXPECT_EQ(spool.received_bytes(), 100U);
  EXPECT_TRUE(spool.Append(FrameAt(payload, 100, 200)).ok());
  EXPECT_TRUE(std::move(spool).TakeContent().ok());
}

TEST(UploadSpool, RefusesMoreThanWasAnnounced) {
  UploadSpool spool(HeaderFor(Payload(300)));
  EXPECT_TRUE(absl::IsInvalidArgument(spool.Append(FrameAt(Payload(301), 0, 301))));
}

TEST(UploadSpool, RefusesAFrameOfMoreThanOneMebibyte) {
  const std::string payload = Payload(2 << 20);
  UploadSpool spool(HeaderFor(payload));
  EXPECT_TRUE(spool.Append(FrameAt(payload, 0, 1 << 20)).ok());
  EXPECT_TRUE(absl::IsInvalidArgument(UploadSpool(HeaderFor(payload)).Append(FrameAt(payload, 0, (1 << 20) + 1))));
}

TEST(UploadSpool, RefusesAFrameWithoutDataUnlessItBringsTheHeader) {
  const std::string payload = Payload(300);
  UploadSpool spool(HeaderFor(payload));
  EXPECT_TRUE(absl::IsInvalidArgument(spool.Append(FrameAt(payload, 0, 0))));
  v1::UploadFrame first = FrameAt(payload, 0, 0);
  *first.mutable_header() = HeaderFor(payload);
  EXPECT_TRUE(spool.Append(first).ok());
}

TEST(UploadSpool, RefusesAWholeThatIsNotWhatTheHeaderNames) {
  const std::string payload = Payload(300);
  UploadSpool spool(HeaderFor(Payload(300, 'y')));
  ASSERT_TRUE(spool.Append(FrameAt(payload, 0, 300)).ok());
  EXPECT_TRUE(absl::IsDataLoss(std::move(spool).TakeContent().status()));
}

TEST(UploadSpool, AHeaderNamesALengthAndADigest) {
  EXPECT_TRUE(UploadSpool::CheckHeader(HeaderFor("payload")).ok());
  v1::UploadHeader header = HeaderFor("payload");
  header.set_total_bytes(0);
  EXPECT_TRUE(absl::IsInvalidArgument(UploadSpool::CheckHeader(header)));
  header = HeaderFor("payload");
  header.mutable_id()->set_sha256("short");
  EXPECT_TRUE(absl::IsInvalidArgument(UploadSpool::CheckHeader(header)));
}

class UploadSpoolsTest : public ::testing::Test {
 protected:
  // Begins an upload of the site as this stream, sends `bytes` of it, and expects that it is let in.
  UploadSpool* Fill(UploadSpools::Stream stream, const std::string& site, const std::string& payload, uint64_t bytes) {
    UploadSpool* const spool = spools_.Admit(stream, site, HeaderFor(payload)).spool;
    EXPECT_NE(spool, nullptr) << site;
    if (spool != nullptr) {
      EXPECT_TRUE(spool->Append(FrameAt(payload, spool->received_bytes(), bytes)).ok());
    }
    return spool;
  }
  // The same, and the stream breaks off; the next one does so a second later.
  void Leave(UploadSpools::Stream stream, const std::string& site, const std::string& payload, uint64_t bytes) {
    Fill(stream, site, payload, bytes);
    spools_.Release(stream, clock_.Now());
    clock_.Advance(absl::Seconds(1));
  }
  uint64_t Received(const std::string& site, const std::string& payload) {
    return spools_.Progress(site, HeaderFor(payload).id()).received_bytes();
  }

  SimulatedClock clock_;
  UploadSpools spools_{{.max_bytes = 1000, .max_idle = absl::Minutes(5)}};
};

TEST_F(UploadSpoolsTest, ABrokenUploadIsResumedWhereItStands) {
  const std::string payload = Payload(300);
  Leave(1, "berlin", payload, 100);
  EXPECT_EQ(Received("berlin", payload), 100U);
  UploadSpool* const resumed = spools_.Admit(2, "berlin", HeaderFor(payload)).spool;
  ASSERT_NE(resumed, nullptr);
  EXPECT_EQ(resumed->received_bytes(), 100U);
  ASSERT_TRUE(resumed->Append(FrameAt(payload, 100, 200)).ok());
  EXPECT_EQ(spools_.TakeOut(2)->bytes, payload);
}

TEST_F(UploadSpoolsTest, AnotherUploadOfTheSiteStartsOver) {
  Leave(1, "berlin", Payload(300), 100);
  UploadSpool* const spool = spools_.Admit(2, "berlin", HeaderFor(Payload(300), 2)).spool;
  ASSERT_NE(spool, nullptr);
  EXPECT_EQ(spool->received_bytes(), 0U);
  EXPECT_EQ(spools_.bytes(), 300U) << "one spool a site";
}

TEST_F(UploadSpoolsTest, ANewerStreamOfTheSiteTakesTheSpoolOver) {
  const std::string payload = Payload(300);
  UploadSpool* const spool = Fill(1, "berlin", payload, 100);
  const UploadSpools::Admission admission = spools_.Admit(2, "berlin", HeaderFor(payload));
  EXPECT_EQ(admission.replaced, 1U);
  EXPECT_EQ(admission.spool, spool);
  spools_.Release(1, clock_.Now());
  ASSERT_TRUE(spool->Append(FrameAt(payload, 100, 200)).ok());
  EXPECT_TRUE(spools_.TakeOut(2).ok()) << "the end of the older stream changes nothing";
}

TEST_F(UploadSpoolsTest, WhatDoesNotFitWaitsUntilThereIsRoom) {
  Fill(1, "berlin", Payload(600), 600);
  EXPECT_EQ(spools_.Admit(2, "paris", HeaderFor(Payload(700))).spool, nullptr);
  EXPECT_TRUE(spools_.IsWaiting(2));
  EXPECT_THAT(spools_.AdmitWaiting(), IsEmpty());
  ASSERT_TRUE(spools_.TakeOut(1).ok());
  EXPECT_THAT(spools_.AdmitWaiting(), IsEmpty()) << "the coordinator has not taken it yet";
  spools_.Answered(1, absl::OkStatus());
  const auto admitted = spools_.AdmitWaiting();
  ASSERT_EQ(admitted.size(), 1U);
  EXPECT_EQ(admitted[0].stream, 2U);
  EXPECT_EQ(admitted[0].spool->header().total_bytes(), 700U);
  EXPECT_FALSE(spools_.IsWaiting(2));
}

TEST_F(UploadSpoolsTest, ThoseWhoWaitAreLetInInTheirOrder) {
  Fill(1, "berlin", Payload(1000), 1000);
  spools_.Admit(2, "oslo", HeaderFor(Payload(300)));
  spools_.Admit(3, "paris", HeaderFor(Payload(800)));
  spools_.Admit(4, "rome", HeaderFor(Payload(300)));
  ASSERT_TRUE(spools_.TakeOut(1).ok());
  spools_.Answered(1, absl::OkStatus());
  const auto admitted = spools_.AdmitWaiting();
  ASSERT_EQ(admitted.size(), 2U);
  EXPECT_EQ(admitted[0].stream, 2U);
  EXPECT_EQ(admitted[1].stream, 4U) << "one that is too large keeps nobody behind it waiting";
  EXPECT_TRUE(spools_.IsWaiting(3));
}

TEST_F(UploadSpoolsTest, ASiteWaitsOnce) {
  Fill(1, "berlin", Payload(1000), 100);
  spools_.Admit(2, "paris", HeaderFor(Payload(700)));
  EXPECT_EQ(spools_.Admit(3, "paris", HeaderFor(Payload(700))).replaced, 2U);
  EXPECT_FALSE(spools_.IsWaiting(2));
  EXPECT_TRUE(spools_.IsWaiting(3));
}

TEST_F(UploadSpoolsTest, AStreamThatEndsWaitsNoLonger) {
  Fill(1, "berlin", Payload(1000), 100);
  spools_.Admit(2, "paris", HeaderFor(Payload(700)));
  spools_.Release(2, clock_.Now());
  EXPECT_FALSE(spools_.IsWaiting(2));
}

TEST_F(UploadSpoolsTest, AnUploadLargerThanAllRoomIsLetInAlone) {
  EXPECT_NE(spools_.Admit(1, "berlin", HeaderFor(Payload(5000))).spool, nullptr);
  EXPECT_EQ(spools_.Admit(2, "paris", HeaderFor(Payload(1))).spool, nullptr);
}

TEST_F(UploadSpoolsTest, WhereRoomIsNeededTheLongestIdleGoesFirst) {
  Leave(1, "rome", Payload(300), 100);
  Leave(2, "berlin", Payload(300), 100);
  Leave(3, "oslo", Payload(300), 100);
  Fill(4, "paris", Payload(400), 100);
  EXPECT_EQ(Received("rome", Payload(300)), 0U);
  EXPECT_EQ(Received("berlin", Payload(300)), 100U);
  EXPECT_EQ(Received("oslo", Payload(300)), 100U);
}

TEST_F(UploadSpoolsTest, AnUploadInProgressIsNeverDropped) {
  Fill(1, "berlin", Payload(600), 100);
  clock_.Advance(absl::Hours(1));
  EXPECT_THAT(spools_.DropIdle(clock_.Now()), IsEmpty());
  EXPECT_EQ(spools_.Admit(2, "paris", HeaderFor(Payload(600))).spool, nullptr);
  EXPECT_EQ(Received("berlin", Payload(600)), 100U);
}

TEST_F(UploadSpoolsTest, WhatNobodyResumesIsDroppedInTime) {
  Leave(1, "berlin", Payload(300), 100);
  clock_.Advance(absl::Minutes(5) - absl::Seconds(2));
  EXPECT_THAT(spools_.DropIdle(clock_.Now()), IsEmpty());
  clock_.Advance(absl::Seconds(1));
  EXPECT_THAT(spools_.DropIdle(clock_.Now()), ElementsAre("berlin"));
  EXPECT_EQ(spools_.bytes(), 0U);
}

TEST_F(UploadSpoolsTest, AResumedUploadIsIdleFromItsLastBreakOn) {
  Leave(1, "berlin", Payload(300), 100);
  clock_.Advance(absl::Minutes(4));
  Leave(2, "berlin", Payload(300), 100);
  clock_.Advance(absl::Minutes(4));
  EXPECT_THAT(spools_.DropIdle(clock_.Now()), IsEmpty());
}

TEST_F(UploadSpoolsTest, OfAWholeThatIsNotWhatTheHeaderNamesNothingIsLeft) {
  UploadSpool* const spool = spools_.Admit(1, "berlin", HeaderFor(Payload(300, 'y'))).spool;
  ASSERT_TRUE(spool->Append(FrameAt(Payload(300), 0, 300)).ok());
  EXPECT_TRUE(absl::IsDataLoss(spools_.TakeOut(1).status()));
  EXPECT_EQ(spools_.bytes(), 0U);
  EXPECT_EQ(Received("berlin", Payload(300, 'y')), 0U);
}

TEST_F(UploadSpoolsTest, RemembersTheNewestUploadThatTheCoordinatorTook) {
  const std::string payload = Payload(300);
  Fill(1, "berlin", payload, 300);
  ASSERT_TRUE(spools_.TakeOut(1).ok());
  EXPECT_FALSE(spools_.Progress("berlin", HeaderFor(payload).id()).complete()) << "it may still be refused";
  spools_.Answered(1, absl::OkStatus());
  EXPECT_TRUE(spools_.Progress("berlin", HeaderFor(payload).id()).complete());
  EXPECT_FALSE(spools_.Progress("paris", HeaderFor(payload).id()).complete());
  EXPECT_FALSE(spools_.Progress("berlin", HeaderFor(payload, 2).id()).complete());
}

TEST_F(UploadSpoolsTest, WhatTheCoordinatorRefusedIsNotComplete) {
  const std::string payload = Payload(300);
  Fill(1, "berlin", payload, 300);
  ASSERT_TRUE(spools_.TakeOut(1).ok());
  spools_.Answered(1, absl::FailedPreconditionError("round 1 is closed"));
  EXPECT_FALSE(spools_.Progress("berlin", HeaderFor(payload).id()).complete());
  EXPECT_EQ(spools_.bytes(), 0U);
}

TEST(UploadSpools, WhatIsOnlyAnnouncedCostsNothing) {
  UploadSpools spools({.max_bytes = uint64_t{4} << 20, .max_idle = absl::Minutes(1)});
  const std::string payload = Payload(16);
  for (const UploadSpools::Stream stream : {1, 2, 3}) {
    v1::UploadHeader header = HeaderFor(payload, stream);
    header.set_total_bytes(uint64_t{1} << 40);
    ASSERT_NE(spools.Admit(stream, absl::StrCat("site-", stream), header).spool, nullptr);
  }
  EXPECT_EQ(spools.bytes(), 3 * UploadSpool::kFirstReserve);
  EXPECT_TRUE(spools.HasRoom(1, 1 << 20));
  EXPECT_EQ(spools.bytes(), 3 * UploadSpool::kFirstReserve);
}

// Somebody always comes to the end and makes room.
TEST(UploadSpools, WhereAllAreFullTheFurthestGoesOnAndTheOthersAfterIt) {
  constexpr uint64_t kStep = UploadSpool::kFirstReserve;
  UploadSpools spools({.max_bytes = 3 * kStep, .max_idle = absl::Minutes(1)});
  const std::string payload = Payload(4 * kStep);
  UploadSpool* const near = spools.Admit(1, "near", HeaderFor(payload)).spool;
  UploadSpool* const far = spools.Admit(2, "far", HeaderFor(payload)).spool;
  ASSERT_TRUE(far->Append(FrameAt(payload, 0, kStep)).ok());
  ASSERT_TRUE(spools.HasRoom(2, kStep));
  ASSERT_TRUE(far->Append(FrameAt(payload, kStep, kStep)).ok());
  ASSERT_TRUE(near->Append(FrameAt(payload, 0, kStep)).ok());
  ASSERT_EQ(spools.bytes(), 3 * kStep);
  EXPECT_FALSE(spools.HasRoom(1, kStep)) << "no room, and another is further";
  EXPECT_TRUE(spools.IsWaiting(1));
  EXPECT_TRUE(spools.HasRoom(2, kStep));
  ASSERT_TRUE(far->Append(FrameAt(payload, 2 * kStep, kStep)).ok());
  ASSERT_TRUE(far->Append(FrameAt(payload, 3 * kStep, kStep)).ok());
  EXPECT_THAT(spools.AdmitWaiting(), IsEmpty());
  ASSERT_TRUE(spools.TakeOut(2).ok());
  spools.Answered(2, absl::OkStatus());
  const std::vector<UploadSpools::Admitted> admitted = spools.AdmitWaiting();
  ASSERT_EQ(admitted.size(), 1u);
  EXPECT_EQ(admitted[0].stream, 1u);
  EXPECT_EQ(admitted[0].spool, near);
  EXPECT_FALSE(spools.IsWaiting(1));
  EXPECT_TRUE(spools.HasRoom(1, kStep));
}

}  // namespace
}  // namespace tributary::coordinator
