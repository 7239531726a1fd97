#include "common/merkle_tree.h"

#include <gtest/gtest.h>

#include <bit>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace tributary {
namespace {

// The definition, recursive over the records (RFC 9162, 2.1.1).
Digest Definition(absl::Span<const std::string> records) {
  if (records.empty()) {
    return Sha256("");
  }
  if (records.size() == 1) {
    return MerkleLeaf(records[0]);
  }
  const size_t cut = std::bit_floor(records.size() - 1);
  return MerkleNode(Definition(records.first(cut)), Definition(records.subspan(cut)));
}

// A list that keeps every node.
class Kept {
 public:
  explicit Kept(const std::vector<std::string>& records) {
    for (const std::string& record : records) {
      frontier_.Append(MerkleLeaf(record), [this](int level, uint64_t index, const Digest& hash) { nodes_[{level, index}] = hash; });
    }
  }
  absl::StatusOr<Digest> operator()(int level, uint64_t index) const {
    const auto it = nodes_.find({level, index});
    return it == nodes_.end() ? absl::StatusOr<Digest>(absl::NotFoundError(absl::StrCat(level, " ", index))) : it->second;
  }
  const MerkleFrontier& frontier() const { return frontier_; }

 private:
  MerkleFrontier frontier_;
  std::map<std::pair<int, uint64_t>, Digest> nodes_;
};

std::vector<std::string> SomeRecords(size_t count) {
  std::vector<std::string> records;
  for (size_t i = 0; i < count; ++i) {
    records.push_back(absl::StrCat("record ", i));
  }
  return records;
}

std::vector<std::string> Hex(const std::vector<Digest>& digests) {
  std::vector<std::string> hex;
  for (const Digest& digest : digests) {
    hex.push_back(DigestHex(digest));
  }
  return hex;
}

// Those of the reference implementation of Certificate Transparency.
std::vector<std::string> ReferenceRecords() {
  std::vector<std::string> records;
  for (const char* const hex : {"", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"}) {
    records.push_back(absl::HexStringToBytes(hex));
  }
  return records;
}
constexpr const char* kReferenceRoots[] = {
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125", "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7", "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef", "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"};

TEST(MerkleTreeTest, HasTheHeadsOfTheReferenceImplementation) {
  const std::vector<std::string> records = ReferenceRecords();
  MerkleFrontier frontier;
  EXPECT_EQ(DigestHex(frontier.Root()), kReferenceRoots[0]);
  for (size_t i = 0; i < records.size(); ++i) {
    frontier.Append(MerkleLeaf(records[i]));
    EXPECT_EQ(DigestHex(frontier.Root()), kReferenceRoots[i + 1]);
  }
}

TEST(MerkleTreeTest, GivesTheProofsOfTheReferenceImplementation) {
  const Kept list(ReferenceRecords());
  EXPECT_EQ(Hex(InclusionProof(5, 8, list).value()),
            std::vector<std::string>({"bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
                                      "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                                      "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7"}));
  EXPECT_EQ(Hex(InclusionProof(2, 3, list).value()),
            std::vector<std::string>({"fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"}));
  EXPECT_EQ(Hex(ConsistencyProof(1, 8, list).value()),
            std::vector<std::string>({"96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
                                      "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                                      "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4"}));
  EXPECT_EQ(Hex(ConsistencyProof(6, 8, list).value()),
            std::vector<std::string>({"0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
                                      "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                                      "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7"}));
  EXPECT_EQ(Hex(ConsistencyProof(2, 5, list).value()),
            std::vector<std::string>({"5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                                      "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b"}));
}

TEST(MerkleTreeTest, AppendingGivesTheHeadOfTheDefinitionAtEverySize) {
  const std::vector<std::string> records = SomeRecords(70);
  const Kept list(records);
  MerkleFrontier frontier;
  for (size_t size = 0; size <= records.size(); ++size) {
    const Digest definition = Definition(absl::MakeConstSpan(records).first(size));
    EXPECT_EQ(frontier.Root(), definition) << size;
    EXPECT_EQ(MerkleRoot(size, list).value(), definition) << size;
    EXPECT_EQ(MerkleFrontier::Of(size, list)->Root(), definition) << size;
    if (size < records.size()) {
      frontier.Append(MerkleLeaf(records[size]));
    }
  }
}

TEST(MerkleTreeTest, AFrontierReadBackGoesOnAsTheOneThatWasKept) {
  const std::vector<std::string> records = SomeRecords(45);
  const Kept list(records);
  MerkleFrontier frontier = MerkleFrontier::Of(29, list).value();
  for (size_t i = 29; i < records.size(); ++i) {
    frontier.Append(MerkleLeaf(records[i]));
  }
  EXPECT_EQ(frontier.size(), 45u);
  EXPECT_EQ(frontier.Root(), list.frontier().Root());
}

TEST(MerkleTreeTest, EveryRecordIsShownToBeInEveryListThatHasIt) {
  const std::vector<std::string> records = SomeRecords(70);
  const Kept list(records);
  for (uint64_t size = 1; size <= records.size(); ++size) {
    const Digest root = MerkleRoot(size, list).value();
    for (uint64_t index = 0; index < size; ++index) {
      const std::vector<Digest> proof = InclusionProof(index, size, list).value();
      const Digest leaf = MerkleLeaf(records[index]);
      ASSERT_TRUE(VerifyInclusion(leaf, index, size, proof, root).ok()) << index << " of " << size;
      ASSERT_FALSE(VerifyInclusion(MerkleLeaf("another"), index, size, proof, root).ok()) << index << " of " << size;
      ASSERT_FALSE(VerifyInclusion(leaf, index ^ 1, size, proof, root).ok() && size > 1) << index << " of " << size;
    }
  }
}

TEST(MerkleTreeTest, EveryListIsShownToBeginWithEveryEarlierOne) {
  const std::vector<std::string> records = SomeRecords(70);
  const Kept list(records);
  for (uint64_t to = 0; to <= records.size(); ++to) {
    const Digest to_root = MerkleRoot(to, list).value();
    for (uint64_t from = 0; from <= to; ++from) {
      const std::vector<Digest> proof = ConsistencyProof(from, to, list).value();
      const Digest from_root = MerkleRoot(from, list).value();
      ASSERT_TRUE(VerifyConsistency(from, from_root, to, to_root, proof).ok()) << from << " to " << to;
      ASSERT_FALSE(VerifyConsistency(from, MerkleLeaf("another"), to, to_root, proof).ok()) << from << " to " << to;
      if (from > 0) {
        ASSERT_FALSE(VerifyConsistency(from, from_root, to, MerkleLeaf("another"), proof).ok()) << from << " to " << to;
      }
    }
  }
}

TEST(MerkleTreeTest, AProofThatIsAlteredShortenedOrPaddedShowsNothing) {
  const std::vector<std::string> records = SomeRecords(45);
  const Kept list(records);
  const Digest from_root = MerkleRoot(29, list).value();
  const Digest root = MerkleRoot(45, list).value();
  const auto holds = [&](const std::vector<Digest>& proof, bool inclusion) {
    return (inclusion ? VerifyInclusion(MerkleLeaf(records[11]), 11, 45, proof, root) : VerifyConsistency(29, from_root, 45, root, proof))
        .ok();
  };
  for (const bool inclusion : {true, false}) {
    const std::vector<Digest> proof = inclusion ? InclusionProof(11, 45, list).value() : ConsistencyProof(29, 45, list).value();
    ASSERT_TRUE(holds(proof, inclusion));
    for (size_t i = 0; i < proof.size(); ++i) {
      std::vector<Digest> altered = proof;
      altered[i][7] ^= 1;
      EXPECT_FALSE(holds(altered, inclusion)) << i;
      EXPECT_FALSE(holds({proof.begin(), proof.begin() + static_cast<ptrdiff_t>(i)}, inclusion)) << i;
    }
    std::vector<Digest> padded = proof;
    padded.push_back(root);
    EXPECT_FALSE(holds(padded, inclusion));
  }
}

TEST(MerkleTreeTest, AListThatWasRewrittenIsNotShownToBeginWithTheEarlierOne) {
  std::vector<std::string> records = SomeRecords(45);
  const Digest from_root = Kept(SomeRecords(29)).frontier().Root();
  records[3] = "rewritten";
  const Kept rewritten(records);
  EXPECT_FALSE(VerifyConsistency(29, from_root, 45, rewritten.frontier().Root(), ConsistencyProof(29, 45, rewritten).value()).ok());
}

TEST(MerkleTreeTest, ThereIsNoProofOfWhatIsNotThere) {
  const Kept list(SomeRecords(4));
  EXPECT_EQ(InclusionProof(4, 4, list).status().code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(ConsistencyProof(5, 4, list).status().code(), absl::StatusCode::kOutOfRange);
  EXPECT_FALSE(VerifyInclusion(MerkleLeaf("record 0"), 0, 0, {}, Sha256("")).ok());
}

}  // namespace
}  // namespace tributary
