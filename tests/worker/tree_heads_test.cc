#include "worker/tree_heads.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/certificate_files.h"
#include "common/clock.h"
#include "common/exit_codes.h"
#include "common/files.h"
#include "common/merkle_tree.h"
#include "common/pki.h"
#include "proto/audit/tree_head.h"
#include "tests/common/test_folder.h"

namespace tributary::worker {
namespace {

using ::testing::HasSubstr;

const Identity kCoordinator{"demo", Role::kCoordinator, ""};

// A coordinator's log, as long as it is honest.
class Log {
 public:
  explicit Log(std::string word) : word_(std::move(word)) {}

  // Its head at that size, with the proof from the other.
  v1::TreeHeadUpdate At(uint64_t size, uint64_t from, const CertificatePair& pair) const {
    v1::TreeHeadUpdate update;
    v1::TreeHead& head = *update.mutable_head();
    head.set_size(size);
    head.set_root_hash(DigestBytes(MerkleRoot(size, Nodes()).value()));
    head.set_unix_ms(absl::ToUnixMillis(Clock::Real().WallNow()));
    EXPECT_TRUE(SignTreeHead(pair, "demo", head).ok());
    if (from > 0 && from <= size) {
      update.set_from_size(from);
      const std::vector<Digest> proof = ConsistencyProof(from, size, Nodes()).value();
      for (const Digest& hash : proof) {
        update.add_consistency(DigestBytes(hash));
      }
    }
    return update;
  }

 private:
  std::function<absl::StatusOr<Digest>(int, uint64_t)> Nodes() const {
    return [this](int level, uint64_t index) -> absl::StatusOr<Digest> {
      if (level == 0) {
        return MerkleLeaf(absl::StrCat(word_, " ", index));
      }
      return MerkleNode(*Nodes()(level - 1, 2 * index), *Nodes()(level - 1, 2 * index + 1));
    };
  }

  const std::string word_;
};

class TreeHeadsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(InitCa(folder_.path(), "demo", absl::Hours(240)).ok());
    ASSERT_TRUE(IssueCertificate(folder_.path(), {.identity = kCoordinator, .hosts = {"localhost"}}).ok());
    pair_ = LoadCertificatePair({folder_.File("ca.crt"), folder_.File("coordinator.crt"), folder_.File("coordinator.key")}, kCoordinator)
                .value();
  }
  absl::StatusOr<TreeHeads> Open() {
    return TreeHeads::Open({.state_dir = folder_.File("state"),
                            .federation = "demo",
                            .ca = [this] { return pair_.ca; },
                            .on_contradiction = on_contradiction_});
  }
  absl::Status Take(TreeHeads& heads, const v1::TreeHeadUpdate& update) { return heads.Take(update, absl::UnixEpoch()); }
  std::string evidence() const { return folder_.File("state/audit/evidence.json"); }

  const TestFolder folder_;
  CertificatePair pair_;
  const Log log_{"record"};
  v1::Audit::OnContradiction on_contradiction_ = v1::Audit::STOP;
};

TEST_F(TreeHeadsTest, HeadsThatContinueAreKeptOverARestart) {
  {
    TreeHeads heads = Open().value();
    EXPECT_EQ(heads.size(), 0u);
    ASSERT_EQ(Take(heads, log_.At(5, 0, pair_)), absl::OkStatus());
    ASSERT_EQ(Take(heads, log_.At(22, 5, pair_)), absl::OkStatus());
  }
  TreeHeads heads = Open().value();
  EXPECT_EQ(heads.size(), 22u);
  ASSERT_EQ(Take(heads, log_.At(40, 22, pair_)), absl::OkStatus());
  EXPECT_FALSE(std::filesystem::exists(evidence()));
}

TEST_F(TreeHeadsTest, TheSameHeadAgainIsNoContradiction) {
  TreeHeads heads = Open().value();
  ASSERT_EQ(Take(heads, log_.At(5, 0, pair_)), absl::OkStatus());
  EXPECT_EQ(Take(heads, log_.At(5, 5, pair_)), absl::OkStatus());
}

TEST_F(TreeHeadsTest, AHeadWithoutCertificatesIsOfThoseOfTheOneBefore) {
  TreeHeads heads = Open().value();
  ASSERT_EQ(Take(heads, log_.At(5, 0, pair_)), absl::OkStatus());
  v1::TreeHeadUpdate next = log_.At(9, 5, pair_);
  next.mutable_head()->clear_certificates();
  ASSERT_EQ(Take(heads, next), absl::OkStatus());
  EXPECT_GT(heads.newest()->certificates_size(), 0);
}

TEST_F(TreeHeadsTest, ARewrittenLogIsAnAlarmWithEvidence) {
  TreeHeads heads = Open().value();
  ASSERT_EQ(Take(heads, log_.At(5, 0, pair_)), absl::OkStatus());
  const absl::Status alarm = Take(heads, Log("rewritten").At(22, 5, pair_));
  EXPECT_EQ(ExitCodeOf(alarm), ExitCode::kLogRewritten) << alarm;
  EXPECT_THAT(std::string(alarm.message()), HasSubstr("evidence.json"));
  const nlohmann::json kept = nlohmann::json::parse(*ReadFile(evidence(), 1 << 20));
  EXPECT_EQ(kept["held"]["size"], "5");
  EXPECT_EQ(kept["offered"]["head"]["size"], "22");
}

TEST_F(TreeHeadsTest, ALogThatWasTakenBackIsAnAlarm) {
  TreeHeads heads = Open().value();
  ASSERT_EQ(Take(heads, log_.At(22, 0, pair_)), absl::OkStatus());
  const absl::Status alarm = Take(heads, log_.At(5, 0, pair_));
  EXPECT_EQ(ExitCodeOf(alarm), ExitCode::kLogRewritten) << alarm;
  EXPECT_THAT(std::string(alarm.message()), HasSubstr("taken back"));
}

TEST_F(TreeHeadsTest, AnotherHeadOfTheSameSizeIsAnAlarm) {
  TreeHeads heads = Open().value();
  ASSERT_EQ(Take(heads, log_.At(22, 0, pair_)), absl::OkStatus());
  EXPECT_EQ(ExitCodeOf(Take(heads, Log("forked").At(22, 22, pair_))), ExitCode::kLogRewritten);
}

TEST_F(TreeHeadsTest, AHeadThatTheCoordinatorDidNotSignIsRefused) {
  TreeHeads heads = Open().value();
  v1::TreeHeadUpdate update = log_.At(5, 0, pair_);
  update.mutable_head()->set_size(6);
  EXPECT_EQ(ExitCodeOf(Take(heads, update)), ExitCode::kCredentials);
  v1::TreeHeadUpdate is_unsigned = log_.At(5, 0, pair_);
  is_unsigned.mutable_head()->clear_signature();
  EXPECT_EQ(ExitCodeOf(Take(heads, is_unsigned)), ExitCode::kCredentials);
  EXPECT_EQ(heads.size(), 0u);
}

TEST_F(TreeHeadsTest, AnAlarmStaysUntilSomebodyHasSettledIt) {
  {
    TreeHeads heads = Open().value();
    ASSERT_EQ(Take(heads, log_.At(22, 0, pair_)), absl::OkStatus());
    ASSERT_FALSE(Take(heads, log_.At(5, 0, pair_)).ok());
  }
  const absl::Status again = Open().status();
  EXPECT_EQ(ExitCodeOf(again), ExitCode::kLogRewritten);
  std::filesystem::rename(folder_.File("state/audit"), folder_.File("settled"));
  EXPECT_EQ(Open()->size(), 0u);
}

TEST_F(TreeHeadsTest, ASiteMayGoOnWithALogThatWasTakenBack) {
  on_contradiction_ = v1::Audit::GO_ON;
  {
    TreeHeads heads = Open().value();
    ASSERT_EQ(Take(heads, log_.At(22, 0, pair_)), absl::OkStatus());
    EXPECT_EQ(Take(heads, log_.At(5, 0, pair_)), absl::OkStatus());
    EXPECT_EQ(heads.size(), 5u);
    EXPECT_TRUE(std::filesystem::exists(evidence()));
    EXPECT_EQ(Take(heads, log_.At(9, 5, pair_)), absl::OkStatus());
  }
  EXPECT_EQ(Open()->size(), 9u);
}

TEST_F(TreeHeadsTest, WhatIsKeptIsBounded) {
  TreeHeads heads = Open().value();
  ASSERT_EQ(Take(heads, log_.At(1, 0, pair_)), absl::OkStatus());
  std::filesystem::resize_file(folder_.File("state/audit/heads.jsonl"), kMaxHeadsFile);
  ASSERT_EQ(Take(heads, log_.At(2, 1, pair_)), absl::OkStatus());
  EXPECT_LT(std::filesystem::file_size(folder_.File("state/audit/heads.jsonl")), 4000u);
  EXPECT_EQ(std::filesystem::file_size(folder_.File("state/audit/heads.1.jsonl")), kMaxHeadsFile);
  EXPECT_EQ(Open()->size(), 2u);
}

}  // namespace
}  // namespace tributary::worker
