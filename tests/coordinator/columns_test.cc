// Sites whose tables have different columns do not train together.
#include "common/checksum.h"
#include "tests/coordinator/federation.h"

namespace tributary::coordinator {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

const std::string kAge = DigestBytes(Sha256("age"));
const std::string kWeight = DigestBytes(Sha256("weight"));

class Columns : public ::testing::Test {
 protected:
  std::string Activity(int site) { return SiteOf(federation_.Status(run_), federation_.site(site).name()).activity(); }

  // Of site-0 and site-1, which have the same columns; the update is site-0's, and the next round waits.
  void CommitOneRound() {
    federation_.site(0).columns_digest = federation_.site(1).columns_digest = kAge;
    federation_.site(1).silent = true;
    run_ = Submit(federation_, MakeSpec("toy", 5, 2));
    federation_.site(0).Connect();
    federation_.site(1).Connect();
    federation_.Settle();
    for (int i = 0; i < 70 && federation_.Status(run_).round() == 0; ++i) {
      federation_.Advance(absl::Seconds(1));
    }
    EXPECT_EQ(federation_.Status(run_).round(), 1u);
  }

  Federation federation_{3};
  std::string run_;
};

TEST_F(Columns, OfASiteThatDifferFromTheFirstsAreRefusedByNameAndBothSidesAreTold) {
  federation_.site(0).columns_digest = kAge;
  federation_.site(1).columns_digest = kWeight;
  federation_.site(2).columns_digest = kAge;
  run_ = Submit(federation_, MakeSpec("toy", 3, 2));
  federation_.ConnectAll();
  federation_.RunToEnd(run_);
  EXPECT_EQ(federation_.Status(run_).state(), v1::FINISHED);
  EXPECT_THAT(Activity(1), HasSubstr("refused: its list of columns differs from that of site-0 (digests "));
  EXPECT_THAT(federation_.site(1).refused_with, HasSubstr("the same columns in the same order"));
  EXPECT_THAT(federation_.site(1).updates_sent, IsEmpty());
  EXPECT_THAT(federation_.site(2).refused_with, IsEmpty());
}

TEST_F(Columns, ADefaultThatAnEarlierReleaseDoesNotKnowIsNotSent) {
  v1::RunSpec spec = MakeSpec("toy", 3, 3);
  spec.mutable_data()->set_standardise(v1::SITE);
  spec.mutable_model()->mutable_mlp()->set_task(v1::MlpSpec::CLASSES);
  run_ = Submit(federation_, spec);
  EXPECT_EQ(federation_.Status(run_).spec().data().standardise(), v1::STANDARDISE_UNSPECIFIED);
  EXPECT_EQ(federation_.Status(run_).spec().model().mlp().task(), v1::MlpSpec::TASK_UNSPECIFIED);
}

TEST_F(Columns, AreNotComparedWithASiteThatDoesNotTellThem) {
  federation_.site(0).columns_digest = kAge;
  run_ = Submit(federation_, MakeSpec("toy", 3, 3));
  federation_.ConnectAll();
  federation_.RunToEnd(run_);
  EXPECT_EQ(federation_.Status(run_).state(), v1::FINISHED);
}

TEST_F(Columns, OfTheRunAreKnownAfterARestart) {
  CommitOneRound();
  federation_.Crash();
  ASSERT_TRUE(federation_.Restart().ok());
  // The one that differs comes first.
  federation_.site(2).columns_digest = kWeight;
  federation_.site(2).Connect();
  federation_.Settle();
  EXPECT_THAT(federation_.site(2).refused_with, HasSubstr("differs from that of site-0"));
}

TEST_F(Columns, OfASiteThatLeftBeforeItDidAnythingBindNobody) {
  federation_.site(0).columns_digest = kWeight;
  federation_.site(1).columns_digest = kAge;
  run_ = Submit(federation_, MakeSpec("toy", 3, 2));
  federation_.site(0).Connect();
  federation_.Settle();
  federation_.site(0).Disconnect();
  federation_.site(1).Connect();
  federation_.Settle();
  EXPECT_THAT(federation_.site(1).refused_with, IsEmpty());
}

TEST_F(Columns, OfASiteThatChangesItsDataInTheMiddleOfARunAreRefused) {
  CommitOneRound();
  federation_.site(0).Disconnect();
  federation_.site(0).columns_digest = kWeight;
  federation_.site(0).Connect();
  federation_.Settle();
  EXPECT_THAT(federation_.site(0).refused_with, HasSubstr("differs from its own before"));
}

TEST_F(Columns, ThatAreNoDigestEndTheSession) {
  federation_.site(0).columns_digest = "age,weight";
  run_ = Submit(federation_, MakeSpec("toy", 3, 1));
  federation_.site(0).Connect();
  federation_.Settle();
  EXPECT_TRUE(absl::IsInvalidArgument(federation_.site(0).closed_with)) << federation_.site(0).closed_with;
}

}  // namespace
}  // namespace tributary::coordinator
