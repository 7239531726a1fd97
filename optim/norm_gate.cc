#include "optim/norm_gate.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/assert.h"
#include "common/bytes.h"
#include "optim/live_pieces.h"
#include "optim/modes.h"

namespace tributary::optim {
namespace {

constexpr double kUnbounded = std::numeric_limits<double>::infinity();

// For the rounding of clipping and of levels.
constexpr double kClipSlack = 1.01;
// For weight decay, which moves parameters besides.
constexpr double kLocalStepSlack = 2;

// The most that one step of AdamW moves a parameter by, per learning rate: |m| / sqrt(v) by Cauchy and Schwarz.
double MostOfAdamStep(const AdamOptions& adam) {
  const double beta1 = adam.beta1;
  const double beta2 = adam.beta2;
  if (beta1 * beta1 >= beta2) {
    return kUnbounded;
  }
  return std::max(1.0, (1 - beta1) / std::sqrt((1 - beta2) * (1 - beta1 * beta1 / beta2)));
}

// No learning rate up to this round was larger. Not that of the parameters: who makes a commit of `local` again has only the outer one.
double LargestRate(const OptimizerOptions& options, uint64_t round) {
  const bool rises = round < options.learning_rate.warmup_rounds;
  return rises ? double{LearningRate(options.learning_rate, round, options.rounds)} : options.learning_rate.peak;
}

// How many full directions a residual can hold: 1 + beta + beta^2 + ..., one for each round.
double MostInResidual(const OptimizerOptions& options, uint64_t round) {
  const auto rounds = static_cast<double>(round);
  const double beta = options.beta;
  return beta < 1 ? std::min(rounds, 1 / (1 - beta)) : rounds;
}

}  // namespace

bool BoundsNorms(const OptimizerOptions& options) {
  return options.norm_bound > 0 && options.aggregation != Aggregation::kSignVote && TraitsOf(options.mode).family != Family::kSigns &&
         !(TraitsOf(options.mode).keys.Has(Key::kNormalize) && options.normalize);
}

double NormContract(const OptimizerOptions& options, const Layout& layout, const RoundParameters& parameters) {
  const bool has_residual = TraitsOf(options.mode).keys.Has(Key::kBeta);
  const double gathered = has_residual ? MostInResidual(options, parameters.round) : 1;
  double contract = kUnbounded;
  if (has_residual && StepsAreTimed(options)) {
    return kUnbounded;
  }
  if (DirectionOf(options.mode) == Direction::kGradient) {
    const double rate = options.mode == Mode::kDemo ? LargestRate(options, parameters.round) : 1;
    contract = options.clip_norm > 0 ? options.clip_norm * kClipSlack * rate * gathered : kUnbounded;
  } else {
    const double rate = has_residual ? LargestRate(options, parameters.round) : double{parameters.learning_rate};
    const auto live = static_cast<double>(LiveSize(CutLive(layout, kChunkSize)));
    contract = kLocalStepSlack * MostOfAdamStep(options.adam) * rate * parameters.local_steps * std::sqrt(live) * gathered;
  }
  // At a learning rate of 0 nothing is known either: a bound of 0 would refuse the smallest remainder.
  return contract > 0 ? contract : kUnbounded;
}

NormGate::NormGate(const OptimizerOptions& options, const Layout& layout)
    : options_(options), layout_(layout), bounds_(BoundsNorms(options)), contract_(kUnbounded), bound_(kUnbounded) {}

void NormGate::Open(const RoundParameters& parameters) {
  open_.clear();
  if (!bounds_) {
    return;
  }
  contract_ = NormContract(options_, layout_, parameters);
  bound_ = contract_;
  steps_ = StepsAreTimed(options_) ? parameters.local_steps : 1;
  if (count_ >= kFewestNorms) {
    std::vector<double> norms;
    for (const std::vector<double>& round : committed_) {
      norms.insert(norms.end(), round.begin(), round.end());
    }
    const auto median = norms.begin() + static_cast<int64_t>((norms.size() - 1) / 2);
    std::nth_element(norms.begin(), median, norms.end());
    bound_ = std::min(bound_, options_.norm_bound * *median * steps_);
  }
}

absl::StatusOr<double> NormGate::ShareOf(double norm) const {
  if (norm <= bound_) {
    return 1.0;
  }
  if (norm > kRefusedBeyond * contract_) {
    return absl::OutOfRangeError(absl::StrCat("its norm is ", norm, "; of a worker that does what the run asks it is at most ", contract_,
                                              ", and beyond ", kRefusedBeyond, " times that an update is refused (optimizer.norm_bound)"));
  }
  return bound_ / norm;
}

void NormGate::Add(double norm) {
  if (bounds_) {
    open_.push_back(norm);
  }
}

void NormGate::Remove(double norm) {
  if (const auto found = std::find(open_.begin(), open_.end(), norm); found != open_.end()) {
    open_.erase(found);
  }
}

void NormGate::Close() {
  std::erase(open_, 0.0);
  if (open_.empty()) {
    return;
  }
  std::transform(open_.begin(), open_.end(), open_.begin(), [this](double norm) { return norm / steps_; });
  std::sort(open_.begin(), open_.end());
  count_ += open_.size();
  committed_.push_back(std::exchange(open_, {}));
  while (count_ - committed_.front().size() >= kNormWindow) {
    count_ -= committed_.front().size();
    committed_.pop_front();
  }
}

std::string NormGate::Save() const {
  std::string saved;
  AppendLittleEndian<uint32_t>(static_cast<uint32_t>(committed_.size()), saved);
  for (const std::vector<double>& round : committed_) {
    AppendLittleEndian<uint32_t>(static_cast<uint32_t>(round.size()), saved);
    for (const double norm : round) {
      AppendLittleEndian<double>(norm, saved);
    }
  }
  return saved;
}

absl::Status NormGate::Restore(absl::string_view saved) {
  ByteReader reader(saved);
  uint32_t rounds = 0;
  bool good = reader.Read(rounds) && rounds <= kNormWindow;
  std::deque<std::vector<double>> committed;
  size_t count = 0;
  for (uint32_t r = 0; good && r < rounds; ++r) {
    uint32_t size = 0;
    good = reader.Read(size) && size > 0 && size <= kMaxWorkers && reader.rest().size() >= size * sizeof(double);
    std::vector<double> norms(good ? size : 0);
    for (double& norm : norms) {
      good = reader.Read(norm) && norm > 0 && std::isfinite(norm) && good;
    }
    count += norms.size();
    committed.push_back(std::move(norms));
  }
  if (!good || !reader.rest().empty()) {
    return absl::InvalidArgumentError("norms of committed rounds: not canonical");
  }
  committed_ = std::move(committed);
  count_ = count;
  open_.clear();
  contract_ = kUnbounded;
  bound_ = kUnbounded;
  return absl::OkStatus();
}

}  // namespace tributary::optim
