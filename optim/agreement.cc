#include "optim/agreement.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "common/bytes.h"
#include "optim/integer_runs.h"
#include "optim/options.h"

namespace tributary::optim {
namespace {

constexpr int32_t kUnit = 1 << 12;
// Of D in magnitude: 7/8 of it, toward zero, and one unit more are no more.
constexpr int32_t kMostDirection = 8 * kUnit - 7;
static_assert(kMostDirection * 7 / 8 + kUnit == kMostDirection && kMostDirection <= INT16_MAX);
static_assert(kMaxWorkers <= INT16_MAX);

}  // namespace

void Agreement::Open() {
  std::fill(votes_.begin(), votes_.end(), 0);
  agreements_.clear();
  left_out_.clear();
  std::vector<std::pair<double, absl::string_view>> ascending;
  for (const auto& [site, score] : scores_) {
    ascending.emplace_back(score, site);
  }
  if (ascending.empty()) {
    return;
  }
  std::sort(ascending.begin(), ascending.end());
  const double median = ascending[ascending.size() / 2].first;
  for (size_t i = 0; i < ascending.size(); ++i) {
    const auto& [score, site] = ascending[i];
    if ((score < kAgainst && i < (ascending.size() - 1) / 2) || score > std::max(kWithItself, kTimesMedian * median)) {
      left_out_.emplace(site);
    }
  }
}

void Agreement::Add(absl::string_view site, Update update) {
  Count(site, update, 1);
}

void Agreement::Remove(absl::string_view site, Update update) {
  Count(site, update, -1);
  if (const auto found = agreements_.find(site); found != agreements_.end()) {
    agreements_.erase(found);
  }
}

void Agreement::Count(absl::string_view site, Update update, int sign) {
  const auto score = scores_.find(site);
  const bool votes = !LeavesOut(site) || (score != scores_.end() && score->second > 0);
  int64_t along = 0;
  int64_t values = 0;
  update([&](int64_t place, int value) {
    along += value * direction_[place];
    ++values;
    votes_[place] = static_cast<int16_t>(votes_[place] + (votes ? sign * value : 0));
  });
  if (values > 0 && squares_ > 0) {
    const double cosine = static_cast<double>(along) / std::sqrt(static_cast<double>(values) * squares_);
    agreements_[std::string(site)] = std::clamp(cosine, -1.0, 1.0);  // it is, but for rounding
  }
}

void Agreement::Close() {
  for (const auto& [site, agreement] : agreements_) {
    scores_.try_emplace(site, 0);
  }
  for (auto& [site, score] : scores_) {
    const auto found = agreements_.find(site);
    score += ((found == agreements_.end() ? 0 : found->second) - score) / kScoreRounds;
  }
  // Of who is away nothing is known after a while: those who are left must not be measured by it.
  std::erase_if(scores_, [this](const auto& entry) { return !agreements_.contains(entry.first) && std::abs(entry.second) < kForgotten; });
  agreements_.clear();
  for (size_t i = 0; i < direction_.size(); ++i) {
    const int32_t sign = (votes_[i] > 0) - (votes_[i] < 0);
    direction_[i] = static_cast<int16_t>(direction_[i] * 7 / 8 + sign * kUnit);
  }
  MeasureDirection();
}

// In integers, so that nothing depends on the order: at most 2^30 a place.
void Agreement::MeasureDirection() {
  uint64_t squares = 0;
  for (const int16_t value : direction_) {
    squares += static_cast<uint64_t>(int32_t{value} * int32_t{value});
  }
  squares_ = static_cast<double>(squares);
}

std::optional<double> Agreement::ScoreOf(absl::string_view site) const {
  const auto found = scores_.find(site);
  return found == scores_.end() ? std::nullopt : std::optional(found->second);
}

std::string Agreement::Save() const {
  std::string saved;
  AppendLittleEndian<uint64_t>(scores_.size(), saved);
  for (const auto& [site, score] : scores_) {
    AppendField<uint32_t>(site, saved);
    AppendLittleEndian<double>(score, saved);
  }
  AppendRuns(absl::MakeConstSpan(direction_), saved);
  return saved;
}

absl::Status Agreement::Restore(absl::string_view saved) {
  ByteReader reader(saved);
  uint64_t sites = 0;
  bool good = reader.Read(sites);
  std::map<std::string, double, std::less<>> scores;
  for (uint64_t i = 0; good && i < sites; ++i) {
    absl::string_view site;
    double score = 0;
    good = reader.ReadField<uint32_t>(site) && reader.Read(score) && score >= -1 && score <= 1 &&
           (scores.empty() || scores.rbegin()->first < site);
    if (good) {
      scores.emplace_hint(scores.end(), site, score);
    }
  }
  std::vector<int16_t> direction(direction_.size(), 0);
  absl::string_view rest = reader.rest();
  if (!good || !ReadRuns(rest, kMostDirection, absl::MakeSpan(direction)).ok() || !rest.empty()) {
    return absl::InvalidArgumentError("agreement of committed rounds: not canonical");
  }
  scores_ = std::move(scores);
  direction_ = std::move(direction);
  agreements_.clear();
  left_out_.clear();
  MeasureDirection();
  return absl::OkStatus();
}

}  // namespace tributary::optim
