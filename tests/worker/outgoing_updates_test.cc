#include "worker/outgoing_updates.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/certificate_files.h"
#include "common/checksum.h"
#include "common/pki.h"
#include "common/signed_text.h"
#include "proto/audit/signed_update.h"
#include "tests/common/test_folder.h"

namespace tributary::worker {
namespace {

using ::testing::SizeIs;

class OutgoingUpdatesTest : public ::testing::Test {
 protected:
  OutgoingUpdatesTest() {
    config_.set_federation("demo");
    config_.set_site("berlin");
    config_.set_coordinator("coordinator:443");
    config_.set_state_dir(folder_.path());
  }
  void SetUp() override {
    ASSERT_TRUE(InitCa(folder_.path(), "demo", absl::Hours(240)).ok());
    ASSERT_TRUE(IssueCertificate(folder_.path(), {.identity = {"demo", Role::kSite, "berlin"}, .hosts = {}}).ok());
    pair_ = LoadCertificatePair({folder_.File("ca.crt"), folder_.File("site-berlin.crt"), folder_.File("site-berlin.key")},
                                {"demo", Role::kSite, "berlin"})
                .value();
  }
  static v1::WorkerMessage Update(uint64_t round, const std::string& payload) {
    v1::WorkerMessage message;
    v1::Update& update = *message.mutable_update();
    update.set_run_id("run");
    update.set_round(round);
    update.set_base_state_hash("base");
    update.set_payload(payload);
    return message;
  }
  UpdateProof ProofOf(const v1::WorkerMessage& message) const {
    const v1::Update& update = message.update();
    return CheckUpdate({"demo", "berlin", update.run_id(), update.round(), update.base_state_hash(), DigestBytes(Sha256(update.payload()))},
                       update.signature(), std::make_shared<const std::vector<std::string>>(SignText("", pair_).value().certificates));
  }

  const TestFolder folder_;
  SimulatedClock clock_{absl::FromUnixSeconds(1'767'225'600)};
  v1::WorkerConfig config_;
  CertificatePair pair_;
};

TEST_F(OutgoingUpdatesTest, SignsAnUpdateAndEntersItInTheRecord) {
  OutgoingUpdates outgoing(config_, &clock_);
  v1::WorkerMessage message = Update(3, "payload");
  ASSERT_TRUE(outgoing.Prepare(&pair_, message).ok());
  EXPECT_EQ(ProofOf(message).standing, UpdateProof::Standing::kGood);
  const std::vector<Sent> sent = ReadSentHistory(folder_.path());
  ASSERT_THAT(sent, SizeIs(1));
  EXPECT_EQ(sent[0].sequence, 1u);
  EXPECT_EQ(sent[0].to, "coordinator:443");
}

TEST_F(OutgoingUpdatesTest, SignsTheHeaderOfAnUploadLikeAnUpdate) {
  OutgoingUpdates outgoing(config_, &clock_);
  v1::UploadHeader header;
  header.mutable_id()->set_run_id("run");
  header.mutable_id()->set_round(3);
  header.mutable_id()->set_sha256(DigestBytes(Sha256("payload")));
  header.set_base_state_hash("base");
  ASSERT_TRUE(outgoing.Prepare(&pair_, header).ok());
  v1::WorkerMessage as_update = Update(3, "payload");
  *as_update.mutable_update()->mutable_signature() = header.signature();
  EXPECT_EQ(ProofOf(as_update).standing, UpdateProof::Standing::kGood);
}

TEST_F(OutgoingUpdatesTest, CountsTheUpdatesOfARunOverRestartsAndTheSameAgainOnce) {
  std::vector<uint64_t> numbers;
  const auto send = [&](OutgoingUpdates& outgoing, v1::WorkerMessage message) {
    ASSERT_TRUE(outgoing.Prepare(&pair_, message).ok());
    numbers.push_back(message.update().signature().sequence());
  };
  {
    OutgoingUpdates outgoing(config_, &clock_);
    send(outgoing, Update(1, "first"));
    send(outgoing, Update(1, "first"));
    send(outgoing, Update(2, "second"));
  }
  OutgoingUpdates restarted(config_, &clock_);
  send(restarted, Update(2, "second"));
  send(restarted, Update(3, "third"));
  EXPECT_THAT(numbers, ::testing::ElementsAre(1, 1, 2, 2, 3));
}

TEST_F(OutgoingUpdatesTest, SignsNothingWithoutAKey) {
  OutgoingUpdates outgoing(config_, &clock_);
  v1::WorkerMessage message = Update(3, "payload");
  ASSERT_TRUE(outgoing.Prepare(nullptr, message).ok());
  EXPECT_FALSE(message.update().has_signature());
  pair_.key = "not a key";
  EXPECT_FALSE(outgoing.Prepare(&pair_, message).ok());
  EXPECT_FALSE(message.update().has_signature());
}

}  // namespace
}  // namespace tributary::worker
