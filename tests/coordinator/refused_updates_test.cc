// What a member may send and is not taken: each is refused with words of its own, counted under its own reason, and recorded.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "coordinator/coordinator.h"
#include "coordinator/metrics.h"
#include "tests/coordinator/federation.h"

namespace tributary::coordinator {
namespace {

using ::testing::HasSubstr;

// What site-2 would send for round 1, of two others' updates.
struct Honest {
  std::string run;
  std::string state;
  std::string payload;
};

// The dense update with its first value replaced.
std::string Beginning(float value, std::string payload) {
  std::memcpy(payload.data() + 1, &value, sizeof(value));
  return payload;
}

std::string AllOf(float value, std::string payload) {
  for (size_t at = 1; at + sizeof(value) <= payload.size(); at += sizeof(value)) {
    std::memcpy(payload.data() + at, &value, sizeof(value));
  }
  return payload;
}

struct Refusal {
  const char* name;
  v1::WorkerMessage (*message)(const Honest& honest);
  const char* reason;  // of the metric
  const char* words;   // in the receipt
};

constexpr Refusal kRefusals[] = {
    {"OfARunThatIsNotOpen", [](const Honest& h) { return UpdateMessage("another", 1, h.state, h.payload); }, "run",
     "run another is not open"},
    {"OfARoundThatIsNotOpen", [](const Honest& h) { return UpdateMessage(h.run, 7, h.state, h.payload); }, "round",
     "round 7 is not open: round 1 is"},
    {"FromAnotherState", [](const Honest& h) { return UpdateMessage(h.run, 1, std::string(32, 'x'), h.payload); }, "base_state", "state"},
    {"LongerThanTheModelCanNeed", [](const Honest& h) { return UpdateMessage(h.run, 1, h.state, std::string(200'000, 'x')); }, "size",
     "200000 bytes; an update of this run has at most"},
    {"OfOtherBytes", [](const Honest& h) { return UpdateMessage(h.run, 1, h.state, "not an update"); }, "invalid",
     "site site-2, round 1: "},
    {"CutShort", [](const Honest& h) { return UpdateMessage(h.run, 1, h.state, h.payload.substr(0, h.payload.size() - 1)); }, "invalid",
     "site site-2, round 1: "},
    {"WithAValueThatIsNoNumber", [](const Honest& h) { return UpdateMessage(h.run, 1, h.state, Beginning(std::nanf(""), h.payload)); },
     "invalid", "site site-2, round 1: "},
    {"WithAValueThatIsInfinite", [](const Honest& h) { return UpdateMessage(h.run, 1, h.state, Beginning(INFINITY, h.payload)); },
     "invalid", "site site-2, round 1: "},
    {"WithAValueOutOfRange", [](const Honest& h) { return UpdateMessage(h.run, 1, h.state, Beginning(1025, h.payload)); }, "invalid",
     "site site-2, round 1: "},
    {"FarBeyondTheBoundOnNorms", [](const Honest& h) { return UpdateMessage(h.run, 1, h.state, AllOf(1000, h.payload)); }, "norm",
     "its norm is "},
};

class RefusedUpdates : public ::testing::Test {
 protected:
  RefusedUpdates() {
    federation_.metrics = &metrics_;
    EXPECT_TRUE(federation_.Restart().ok());
    site().alter = [this](std::string& sent, uint64_t) { honest_.payload = std::exchange(sent, ""); };
    honest_.run = Submit(federation_, MakeSpec("toy", 3, 3, "allreduce, norm_bound: 3"));
    for (const int number : {0, 1, 2}) {
      federation_.site(number).Connect();
    }
    federation_.Settle();
    honest_.state = site().StateHash();
    EXPECT_FALSE(honest_.payload.empty());
    EXPECT_EQ(federation_.Status(honest_.run).round(), 0u) << "round 1 is open, and waits for site-2";
  }
  ~RefusedUpdates() override { federation_.Crash(); }

  FakeSite& site() { return federation_.site(2); }
  // How often the journal, and so the audit log, says that an update of site-2 was rejected.
  int Recorded() {
    EXPECT_TRUE(federation_.journal().Flush().ok());
    const std::vector<JournaledEvent> events = federation_.journal().Events(honest_.run).value();
    return static_cast<int>(std::count_if(events.begin(), events.end(),
                                          [](const JournaledEvent& event) { return event.site == "site-2" && event.kind == "rejected"; }));
  }

  CoordinatorMetrics metrics_{{"site-0", "site-1", "site-2"}};
  Federation federation_{4};
  Honest honest_;
};

class RefusedUpdate : public RefusedUpdates, public ::testing::WithParamInterface<Refusal> {};

TEST_P(RefusedUpdate, HasItsReceiptItsCountAndItsRecord) {
  const Refusal& refusal = GetParam();
  site().Say(refusal.message(honest_));
  federation_.Settle();
  ASSERT_FALSE(site().receipts.empty());
  EXPECT_EQ(site().receipts[0].result(), v1::Receipt::REJECTED);
  EXPECT_THAT(site().receipts[0].reason(), HasSubstr(refusal.words));
  EXPECT_THAT(metrics_.Text(), HasSubstr(absl::StrCat("tributary_update_rejections_total{reason=\"", refusal.reason, "\"} 1\n")));
  EXPECT_THAT(metrics_.Text(), HasSubstr("tributary_updates_total{result=\"rejected\",site=\"site-2\"} 1\n"));
  // Of a run that is not there, nothing is recorded: there is nothing to record it under.
  EXPECT_EQ(Recorded(), refusal.reason == std::string("run") ? 0 : 1);
}

INSTANTIATE_TEST_SUITE_P(Kinds, RefusedUpdate, ::testing::ValuesIn(kRefusals), [](const auto& info) { return info.param.name; });

// The answer to the first is still to come: a second one is neither summed nor answered.
TEST_F(RefusedUpdates, OfASiteWhoseUpdateWasAcceptedIsCounted) {
  const std::string base = federation_.site(0).StateHash();
  federation_.site(0).Say(UpdateMessage(honest_.run, 1, base, AllOf(0.5F, honest_.payload)));
  federation_.Settle();
  EXPECT_THAT(metrics_.Text(), HasSubstr("tributary_update_rejections_total{reason=\"duplicate\"} 1\n"));
}

TEST_F(RefusedUpdates, OfASiteThatIsNoMemberOfTheRoundIsCounted) {
  federation_.site(3).Connect();
  federation_.Settle();
  federation_.site(3).Say(UpdateMessage(honest_.run, 1, federation_.site(0).StateHash(), honest_.payload));
  federation_.Settle();
  ASSERT_FALSE(federation_.site(3).receipts.empty());
  EXPECT_EQ(federation_.site(3).receipts[0].result(), v1::Receipt::REJECTED);
  EXPECT_THAT(metrics_.Text(), HasSubstr("tributary_update_rejections_total{reason=\"not_member\"} 1\n"));
}

}  // namespace
}  // namespace tributary::coordinator
