// A federation of sites, some of them hostile, in one function: a perceptron of one hidden layer with the product's own encoders,
// aggregators and Apply, and attacks from the literature on what sites send. Results are the same on every machine that has its libm.
#ifndef TRIBUTARY_TESTS_SUPPORT_TOY_FEDERATION_H_
#define TRIBUTARY_TESTS_SUPPORT_TOY_FEDERATION_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "optim/options.h"

namespace tributary {

// Rows of `features` values each, and their classes.
struct Table {
  int64_t features = 0;
  int classes = 0;
  std::vector<float> values;  // [rows * features]
  std::vector<int> labels;    // [rows]

  int64_t rows() const { return static_cast<int64_t>(labels.size()); }
};

// Clouds of points around a centre for each class, which overlap a little.
Table MakeClouds(int64_t rows, uint64_t seed);
// Comma-separated numbers without a header, the class last; values are divided by the largest. InvalidArgument.
absl::StatusOr<Table> ReadTable(absl::string_view csv);

enum class Attack {
  kNone,
  kSignFlip,         // ten times its honest direction, backwards
  kLabelFlip,        // trains honestly on class c as classes - 1 - c
  kInnerProduct,     // backwards along the mean of the honest directions (Xie et al., arXiv 1903.03936)
  kALittleIsEnough,  // that mean moved by 1.5 standard deviations in each coordinate (Baruch et al., arXiv 1902.06156)
  kLoneSupport,      // sparse modes: nine times an honest norm, the same every round, where no honest site sends any
  kScaledNoise,      // noise of ten times the norm of its honest direction
  kSilent,           // updates of zeros
};
inline constexpr Attack kAttacks[] = {Attack::kNone,         Attack::kSignFlip,        Attack::kLabelFlip,
                                      Attack::kInnerProduct, Attack::kALittleIsEnough, Attack::kLoneSupport,
                                      Attack::kScaledNoise,  Attack::kSilent};
absl::string_view AttackName(Attack attack);

struct ToyFederation {
  int sites = 16;
  int hostile = 3;
  int64_t hidden = 64;
  uint64_t rounds = 120;
  int64_t batch = 32;
  double skew = 0.5;  // of Dirichlet's distribution of each class over the sites: the smaller, the more unlike they are
  uint64_t seed = 1;
};

// Of the updates of honest and of hostile sites, the shares that a run with Aggregation::kAgreement left out.
struct LeftOut {
  double honest = 0;
  double hostile = 0;
};

// Trains on the first 5/6 of the rows and returns the share of the rest that is classified rightly. Updates that the aggregator refuses
// are left out, and quarantine is not played: a refused site may try again in every round. The shares are added
// to `left_out`, if it is given.
double Accuracy(const ToyFederation& federation, const optim::OptimizerOptions& options, Attack attack, const Table& table,
                LeftOut* left_out = nullptr);

}  // namespace tributary

#endif  // TRIBUTARY_TESTS_SUPPORT_TOY_FEDERATION_H_
