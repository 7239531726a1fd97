#include "optim/agreement.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "optim/aggregator.h"
#include "optim/encoder.h"
#include "optim/modes.h"
#include "tests/optim/random_updates.h"

namespace tributary::optim {
namespace {

using ::testing::HasSubstr;

constexpr int64_t kPlaces = 1000;
constexpr Mode kAgreedModes[] = {Mode::kDistro, Mode::kSignSgd};

// Values of one sign at `count` places from `first` on.
void AddRun(Agreement& agreement, const std::string& site, int64_t first, int64_t count, int sign) {
  agreement.Add(site, [&](Agreement::Vote vote) {
    for (int64_t i = first; i < first + count; ++i) {
      vote(i, sign);
    }
  });
}

std::string Site(int number) {
  return absl::StrCat("site-", number);
}

TEST(AgreementTest, WhoPushesAgainstTheOthersIsLeftOutAndComesBackByAgreeing) {
  Agreement agreement(kPlaces);
  const auto play = [&](int sign) {
    agreement.Open();
    for (int i = 0; i < 5; ++i) {
      AddRun(agreement, Site(i), 100 * i, 300, 1);
    }
    AddRun(agreement, "hostile", 0, 700, sign);
    agreement.Close();
  };
  for (int round = 1; round <= 10; ++round) {
    play(-1);
  }
  agreement.Open();
  EXPECT_TRUE(agreement.LeavesOut("hostile"));
  EXPECT_LT(agreement.ScoreOf("hostile"), kAgainst);
  for (int i = 0; i < 5; ++i) {
    EXPECT_FALSE(agreement.LeavesOut(Site(i))) << i;
  }
  for (int round = 11; round <= 40; ++round) {
    play(1);
  }
  agreement.Open();
  EXPECT_FALSE(agreement.LeavesOut("hostile"));
}

TEST(AgreementTest, WhoAgreesWithItselfAloneIsLeftOutForAsLongAsItDoes) {
  Dice dice(3);
  Agreement agreement(kPlaces);
  const auto play = [&] {
    agreement.Open();
    for (int i = 0; i < 8; ++i) {
      const int64_t first = dice.Roll(0, 700);
      agreement.Add(Site(i), [&](Agreement::Vote vote) {
        for (int64_t place = first; place < first + 100; ++place) {
          vote(place, place < first + 60 || dice.Flip() ? 1 : -1);
        }
      });
    }
    for (const std::string lone : {"lone-1", "lone-2", "lone-3"}) {
      AddRun(agreement, lone, 800, 200, 1);
    }
    agreement.Close();
  };
  for (int round = 1; round <= 100; ++round) {
    play();
    agreement.Open();
    EXPECT_EQ(agreement.LeavesOut("lone-1"), agreement.ScoreOf("lone-1") > kWithItself) << round;
    for (int i = 0; i < 8; ++i) {
      EXPECT_FALSE(agreement.LeavesOut(Site(i))) << i << " in round " << round;
    }
  }
  EXPECT_TRUE(agreement.LeavesOut("lone-3"));
}

TEST(AgreementTest, FewerThanHalfAreLeftOutHoweverManyDisagree) {
  for (const int sites : {2, 3, 4, 7, 16}) {
    Agreement agreement(kPlaces);
    for (int round = 1; round <= 40; ++round) {
      agreement.Open();
      for (int i = 0; i < sites; ++i) {
        // One goes on, the others turn around every few rounds.
        AddRun(agreement, Site(i), 0, kPlaces, i > 0 && round / 3 % 2 == 1 ? -1 : 1);
      }
      agreement.Close();
    }
    agreement.Open();
    int left_out = 0;
    for (int i = 0; i < sites; ++i) {
      left_out += agreement.LeavesOut(Site(i)) ? 1 : 0;
    }
    EXPECT_LE(left_out, (sites - 1) / 2) << sites;
  }
}

TEST(AgreementTest, SilenceIsNoEvidence) {
  Agreement agreement(kPlaces);
  for (int round = 1; round <= 40; ++round) {
    agreement.Open();
    for (int i = 0; i < 5; ++i) {
      AddRun(agreement, Site(i), 0, 300, 1);
    }
    AddRun(agreement, "silent", 0, 0, 1);
    agreement.Close();
  }
  EXPECT_EQ(agreement.ScoreOf("silent"), std::nullopt);
  EXPECT_EQ(agreement.ScoreOf("nobody"), std::nullopt);
}

TEST(AgreementTest, WhoStaysAwayIsForgotten) {
  Agreement agreement(kPlaces);
  const auto play = [&](int sites) {
    agreement.Open();
    for (int i = 0; i < sites; ++i) {
      AddRun(agreement, Site(i), 0, 300, 1);
    }
    agreement.Close();
  };
  for (int round = 1; round <= 40; ++round) {
    play(5);
  }
  const double score = *agreement.ScoreOf(Site(4));
  play(4);
  EXPECT_LT(*agreement.ScoreOf(Site(4)), score);
  EXPECT_GT(*agreement.ScoreOf(Site(3)), score);
  for (int round = 1; round <= 300; ++round) {
    play(4);
  }
  EXPECT_EQ(agreement.ScoreOf(Site(4)), std::nullopt);
}

// A federation whose honest sites see one gradient and noise, and whose hostile ones send it backwards.
class AgreedRounds {
 public:
  AgreedRounds(Mode mode, const Layout& layout) : options_(Defaults(mode)), layout_(layout) {
    options_.rounds = 1000;
    options_.k = options_.commit_k = 512;
    options_.aggregation = Aggregation::kAgreement;
  }

  const OptimizerOptions& options() const { return options_; }
  std::unique_ptr<Aggregator> Make() const { return *MakeAggregator(options_, layout_); }

  // By site; two of nine are hostile.
  std::vector<std::string> UpdatesOf(uint64_t round) const {
    Dice common(7);
    const std::vector<float> gradient = RandomFloats(common, layout_.size());
    std::vector<std::string> updates;
    for (int site = 0; site < 9; ++site) {
      Dice dice(round * 100 + static_cast<uint64_t>(site));
      std::vector<float> seen = RandomFloats(dice, layout_.size(), 0.3f);
      for (size_t i = 0; i < seen.size(); ++i) {
        seen[i] = site < 2 ? -gradient[i] : gradient[i] + seen[i];
      }
      updates.push_back(*TraitsOf(options_.mode).make_encoder(options_, layout_, 1)->Encode(ParametersForRound(options_, round), seen));
    }
    return updates;
  }

  // The sites in this order, if one is given.
  std::string Commit(Aggregator& aggregator, uint64_t round, std::vector<int> order = {0, 1, 2, 3, 4, 5, 6, 7, 8}) const {
    const std::vector<std::string> updates = UpdatesOf(round);
    EXPECT_TRUE(aggregator.BeginRound(ParametersForRound(options_, round), 9).ok());
    for (const int site : order) {
      EXPECT_TRUE(aggregator.Add(updates[site], kMaxWeight, Site(site)).ok());
    }
    return EncodeCommit(*aggregator.Finish());
  }

 private:
  OptimizerOptions options_;
  const Layout& layout_;
};

Layout TestLayout() {
  return *Layout::Create({{"a", {37, 30}}, {"still", {50}, true}, {"b", {4097}}});
}

TEST(AgreementTest, WhatIsLeftOutIsCountedAndComesToNothing) {
  const Layout layout = TestLayout();
  for (const Mode mode : kAgreedModes) {
    SCOPED_TRACE(ModeName(mode));
    const AgreedRounds rounds(mode, layout);
    const auto all = rounds.Make();
    for (uint64_t round = 1; round <= 12; ++round) {
      rounds.Commit(*all, round);
    }
    const auto honest = rounds.Make();
    ASSERT_TRUE(honest->RestoreState(all->SaveState()).ok());
    const std::vector<std::string> updates = rounds.UpdatesOf(13);
    for (Aggregator* aggregator : {all.get(), honest.get()}) {
      ASSERT_TRUE(aggregator->BeginRound(ParametersForRound(rounds.options(), 13), 9).ok());
      EXPECT_EQ(*aggregator->ShareOf(*aggregator->Measure(updates[0]), Site(0)), 0.0);
      EXPECT_EQ(*aggregator->ShareOf(*aggregator->Measure(updates[2]), Site(2)), 1.0);
      for (int site = aggregator == all.get() ? 0 : 2; site < 9; ++site) {
        ASSERT_TRUE(aggregator->Add(updates[site], kMaxWeight, Site(site)).ok());
      }
      EXPECT_FALSE(aggregator->Add(updates[0] + "x", kMaxWeight, Site(0)).ok()) << "it is checked all the same";
    }
    const Commit with = *all->Finish();
    const Commit without = *honest->Finish();
    EXPECT_EQ(with.included, 9u);
    EXPECT_EQ(without.included, 7u);
    if (mode == Mode::kSignSgd) {
      EXPECT_EQ(with.payload, without.payload);
    }
  }
}

TEST(AgreementTest, OrderOfArrivalDoesNotMatterAndUpdatesCanBeTakenBack) {
  const Layout layout = TestLayout();
  for (const Mode mode : kAgreedModes) {
    SCOPED_TRACE(ModeName(mode));
    const AgreedRounds rounds(mode, layout);
    const auto a = rounds.Make();
    const auto b = rounds.Make();
    for (uint64_t round = 1; round <= 20; ++round) {
      const std::vector<std::string> updates = rounds.UpdatesOf(round);
      ASSERT_TRUE(b->BeginRound(ParametersForRound(rounds.options(), round), 9).ok());
      for (const int site : {1, 5}) {
        ASSERT_TRUE(b->Add(updates[site], kMaxWeight, Site(site)).ok());
      }
      for (const int site : {1, 5}) {
        ASSERT_TRUE(b->Remove(updates[site], kMaxWeight, Site(site)).ok());
      }
      EXPECT_EQ(rounds.Commit(*a, round), rounds.Commit(*b, round, {8, 0, 7, 1, 6, 2, 5, 3, 4})) << round;
    }
    EXPECT_EQ(a->SaveState(), b->SaveState());
  }
}

TEST(AgreementTest, ARestoredAggregatorLeavesOutTheSameSites) {
  const Layout layout = TestLayout();
  for (const Mode mode : kAgreedModes) {
    SCOPED_TRACE(ModeName(mode));
    const AgreedRounds rounds(mode, layout);
    const auto a = rounds.Make();
    for (uint64_t round = 1; round <= 15; ++round) {
      rounds.Commit(*a, round);
    }
    const auto b = rounds.Make();
    const std::string state = a->SaveState();
    ASSERT_TRUE(b->RestoreState(state).ok());
    EXPECT_EQ(b->SaveState(), state);
    for (size_t at = 0; at < state.size(); at += 1 + state.size() / 97) {
      EXPECT_EQ(b->RestoreState(state.substr(0, at)).code(), absl::StatusCode::kDataLoss);
    }
    for (uint64_t round = 16; round <= 18; ++round) {
      EXPECT_EQ(rounds.Commit(*a, round), rounds.Commit(*b, round));
    }
    const auto anew = rounds.Make();
    EXPECT_NE(rounds.Commit(*a, 19), rounds.Commit(*anew, 19));
  }
}

TEST(AgreementTest, WhatIsNotCanonicalIsNotRestored) {
  Agreement agreement(2);
  agreement.Open();
  AddRun(agreement, "a", 0, 2, 1);
  AddRun(agreement, "b", 0, 2, 1);
  agreement.Close();
  agreement.Open();
  AddRun(agreement, "a", 0, 2, 1);
  AddRun(agreement, "b", 0, 2, 1);
  agreement.Close();
  const std::string good = agreement.Save();
  ASSERT_TRUE(Agreement(2).Restore(good).ok());
  std::string swapped = good;
  std::swap(swapped[8 + 4], swapped[8 + 4 + 1 + 8 + 4]);
  EXPECT_FALSE(Agreement(2).Restore(swapped).ok()) << "names ascend";
  std::string loud = good;
  loud[8 + 4 + 1 + 7] = '\x40';
  EXPECT_FALSE(Agreement(2).Restore(loud).ok()) << "a score is at most 1";
  EXPECT_FALSE(Agreement(2).Restore(good + '\0').ok());
  EXPECT_FALSE(Agreement(3).Restore(good).ok());
}

TEST(AgreementTest, OnlyTheRootOfATreeCouldAsk) {
  const Layout layout = TestLayout();
  const AgreedRounds rounds(Mode::kSignSgd, layout);
  const auto aggregator = rounds.Make();
  ASSERT_TRUE(aggregator->BeginRound(ParametersForRound(rounds.options(), 1), 9).ok());
  EXPECT_EQ(aggregator->ExportPartial().status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST(AgreementTest, IsForVotesThatCountTheSame) {
  for (const ModeTraits& mode : kModes) {
    OptimizerOptions options = Defaults(mode.mode);
    options.aggregation = Aggregation::kAgreement;
    const bool takes = mode.mode == Mode::kDistro || mode.mode == Mode::kSignSgd;
    EXPECT_EQ(Validate(options).ok(), takes) << mode.name;
    options.normalize = false;
    if (mode.mode == Mode::kDistro) {
      EXPECT_THAT(Validate(options).message(), HasSubstr("votes that all count the same"));
    }
  }
}

}  // namespace
}  // namespace tributary::optim
