#include "tests/support/toy_federation.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <memory>
#include <numeric>
#include <random>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/types/span.h"
#include "common/assert.h"
#include "optim/adamw.h"
#include "optim/aggregator.h"
#include "optim/apply.h"
#include "optim/chunk_plan.h"
#include "optim/encoder.h"
#include "optim/layout.h"
#include "optim/modes.h"
#include "optim/payload.h"
#include "optim/replica_state.h"

namespace tributary {
namespace {

using optim::OptimizerOptions;

std::mt19937_64 Random(uint64_t seed) {
  return std::mt19937_64(seed * 0x9e3779b97f4a7c15u + 1);
}

// In lanes, which vector instructions take; `size` is a multiple of 8 or short.
float Dot(const float* a, const float* b, int64_t size) {
  float lanes[8] = {};
  const int64_t whole = size / 8 * 8;
  for (int64_t i = 0; i < whole; i += 8) {
    for (int64_t lane = 0; lane < 8; ++lane) {
      lanes[lane] += a[i + lane] * b[i + lane];
    }
  }
  return std::inner_product(a + whole, a + size, b + whole, std::accumulate(lanes, lanes + 8, 0.0f));
}

// theta: w1 [hidden, features], b1 [hidden], w2 [classes, hidden], b2 [classes].
class Perceptron {
 public:
  Perceptron(int64_t features, int64_t hidden, int64_t classes)
      : features_(features),
        hidden_(hidden),
        classes_(classes),
        layout_(*optim::Layout::Create({{"w1", {hidden, features}}, {"b1", {hidden}}, {"w2", {classes, hidden}}, {"b2", {classes}}})) {}

  const optim::Layout& layout() const { return layout_; }

  std::vector<float> Initial(uint64_t seed) const {
    std::mt19937_64 random = Random(seed);
    std::vector<float> theta(layout_.size(), 0.0f);
    std::normal_distribution<float> first(0.0f, 1 / std::sqrt(static_cast<float>(features_)));
    std::normal_distribution<float> second(0.0f, 1 / std::sqrt(static_cast<float>(hidden_)));
    std::generate_n(theta.begin(), hidden_ * features_, [&] { return first(random); });
    std::generate_n(theta.begin() + hidden_ * (features_ + 1), classes_ * hidden_, [&] { return second(random); });
    return theta;
  }

  int Classify(const std::vector<float>& theta, const float* x) const {
    std::vector<float> h(hidden_);
    std::vector<float> out(classes_);
    Forward(theta, x, h, out);
    return static_cast<int>(std::max_element(out.begin(), out.end()) - out.begin());
  }

  // Of the mean cross-entropy over the rows.
  std::vector<float> Gradient(const std::vector<float>& theta, const Table& table, absl::Span<const int64_t> rows,
                              bool flips_labels) const {
    std::vector<float> gradient(layout_.size(), 0.0f);
    float* const g_w1 = gradient.data();
    float* const g_b1 = g_w1 + hidden_ * features_;
    float* const g_w2 = g_b1 + hidden_;
    float* const g_b2 = g_w2 + classes_ * hidden_;
    const float* const w2 = theta.data() + hidden_ * (features_ + 1);
    const float share = 1.0f / static_cast<float>(rows.size());
    std::vector<float> h(hidden_);
    std::vector<float> out(classes_);
    std::vector<float> back(hidden_);
    for (const int64_t row : rows) {
      const float* const x = table.values.data() + row * features_;
      Forward(theta, x, h, out);
      const float most = *std::max_element(out.begin(), out.end());
      float sum = 0;
      for (float& value : out) {
        value = std::exp(value - most);
        sum += value;
      }
      const int label = flips_labels ? static_cast<int>(classes_) - 1 - table.labels[row] : table.labels[row];
      std::fill(back.begin(), back.end(), 0.0f);
      for (int64_t c = 0; c < classes_; ++c) {
        const float d = (out[c] / sum - (c == label ? 1.0f : 0.0f)) * share;
        g_b2[c] += d;
        for (int64_t j = 0; j < hidden_; ++j) {
          g_w2[c * hidden_ + j] += d * h[j];
          back[j] += d * w2[c * hidden_ + j];
        }
      }
      for (int64_t j = 0; j < hidden_; ++j) {
        const float d = back[j] * (1 - h[j] * h[j]);
        g_b1[j] += d;
        for (int64_t i = 0; i < features_; ++i) {
          g_w1[j * features_ + i] += d * x[i];
        }
      }
    }
    return gradient;
  }

 private:
  void Forward(const std::vector<float>& theta, const float* x, std::vector<float>& h, std::vector<float>& out) const {
    const float* const w1 = theta.data();
    const float* const b1 = w1 + hidden_ * features_;
    const float* const w2 = b1 + hidden_;
    const float* const b2 = w2 + classes_ * hidden_;
    for (int64_t j = 0; j < hidden_; ++j) {
      h[j] = std::tanh(Dot(x, w1 + j * features_, features_) + b1[j]);
    }
    for (int64_t c = 0; c < classes_; ++c) {
      out[c] = Dot(h.data(), w2 + c * hidden_, hidden_) + b2[c];
    }
  }

  const int64_t features_;
  const int64_t hidden_;
  const int64_t classes_;
  const optim::Layout layout_;
};

// One worker: its rows, its encoder, and what its optimiser remembers.
struct Site {
  std::vector<int64_t> rows;
  std::unique_ptr<optim::UpdateEncoder> encoder;
  std::mt19937_64 random;
  std::vector<float> m;
  std::vector<float> v;
  uint64_t steps = 0;
};

std::vector<float> DirectionOf(const OptimizerOptions& options, const optim::RoundParameters& round, const Perceptron& model,
                               const std::vector<float>& theta, const Table& table, int64_t batch, bool flips_labels, Site& site) {
  const auto gradient = [&](const std::vector<float>& at) {
    std::vector<int64_t> rows(batch);
    std::generate(rows.begin(), rows.end(), [&] { return site.rows[site.random() % site.rows.size()]; });
    return model.Gradient(at, table, rows, flips_labels);
  };
  if (optim::DirectionOf(options.mode) == optim::Direction::kGradient) {
    std::vector<float> direction = gradient(theta);
    optim::ClipNorm(options.clip_norm, absl::MakeSpan(direction));
    return direction;
  }
  std::vector<float> local = theta;
  site.m.resize(local.size());
  site.v.resize(local.size());
  for (uint32_t step = 0; step < round.local_steps; ++step) {
    std::vector<float> g = gradient(local);
    optim::ClipNorm(options.clip_norm, absl::MakeSpan(g));
    optim::AdamWStep(options.adam, round.learning_rate, options.weight_decay, ++site.steps, g, absl::MakeSpan(site.m),
                     absl::MakeSpan(site.v), absl::MakeSpan(local));
  }
  for (size_t i = 0; i < local.size(); ++i) {
    local[i] = theta[i] - local[i];
  }
  return local;
}

double Norm(const std::vector<float>& values) {
  return std::sqrt(optim::SquaredNorm(values));
}

// What a hostile site hands its encoder. `honest`: what it would have sent; `others`: the honest sites' directions.
std::vector<float> Twist(Attack attack, std::vector<float> honest, const std::vector<std::vector<float>>& others, Site& site) {
  std::vector<float> twisted = std::move(honest);
  const double norm = Norm(twisted);
  std::normal_distribution<float> normal(0.0f, 1.0f);
  const auto count = static_cast<float>(others.size());
  for (size_t i = 0; i < twisted.size(); ++i) {
    float mean = 0;
    float square = 0;
    for (const std::vector<float>& other : others) {
      mean += other[i] / count;
      square += other[i] * other[i] / count;
    }
    switch (attack) {
      case Attack::kSignFlip:
        twisted[i] *= -10;
        break;
      case Attack::kInnerProduct:
        twisted[i] = -1.5f * mean;
        break;
      case Attack::kALittleIsEnough:
        twisted[i] = mean - 1.5f * std::sqrt(std::max(0.0f, square - mean * mean));
        break;
      case Attack::kScaledNoise:
        twisted[i] = normal(site.random);
        break;
      case Attack::kSilent:
        twisted[i] = 0;
        break;
      case Attack::kNone:
      case Attack::kLabelFlip:
      case Attack::kLoneSupport:
        break;
    }
  }
  if (attack == Attack::kScaledNoise) {
    const auto factor = static_cast<float>(10 * norm / Norm(twisted));
    for (float& value : twisted) {
      value *= factor;
    }
  }
  return twisted;
}

// The places that fewest honest updates have held so far, at nine times an honest norm: all that an update may keep, always the same sign.
// `senders` [places] remembers who has sent what.
std::string LoneUpdate(const OptimizerOptions& options, const optim::Layout& layout, const std::vector<std::string>& honest,
                       std::vector<int>& senders) {
  const optim::ChunkPlan plan(options, layout);
  const optim::PayloadShape& shape = plan.update_shape();
  const bool floats = shape.value_bits == 32;
  const int32_t level = floats ? 1 : 1 << (shape.value_bits - 1);
  senders.resize(plan.places());
  optim::SparseValues values;
  double norm = 0;  // the mean of theirs
  for (const std::string& update : honest) {
    TRIBUTARY_ASSERT(optim::DecodePayload(shape, update, values).ok(), "an honest update");
    double squares = 0;
    for (size_t s = 0; s < plan.segments().size(); ++s) {
      const optim::Segment& segment = plan.segments()[s];
      for (int64_t c = 0; c < segment.chunk_count; ++c) {
        for (uint32_t i = values.chunk_begin[segment.first_chunk + c]; i < values.chunk_begin[segment.first_chunk + c + 1]; ++i) {
          ++senders[segment.first_place + c * segment.chunk_length() + values.index[i]];
          const float value = floats ? std::bit_cast<float>(values.value[i]) : values.scales[s] * static_cast<float>(values.value[i]);
          squares += value * value;
        }
      }
    }
    norm += std::sqrt(squares) / static_cast<double>(honest.size());
  }
  optim::SparseValues lone;
  lone.chunk_begin = {0};
  for (size_t s = 0; s < plan.segments().size(); ++s) {
    const optim::Segment& segment = plan.segments()[s];
    for (int64_t c = 0; c < segment.chunk_count; ++c) {
      const int* const here = senders.data() + segment.first_place + c * segment.chunk_length();
      std::vector<uint16_t> places(segment.chunk_length());
      std::iota(places.begin(), places.end(), uint16_t{0});
      std::stable_sort(places.begin(), places.end(), [here](uint16_t a, uint16_t b) { return here[a] < here[b]; });
      places.resize(std::min<size_t>(places.size(), shape.segments[s].max_kept));
      std::sort(places.begin(), places.end());
      lone.index.insert(lone.index.end(), places.begin(), places.end());
      lone.chunk_begin.push_back(static_cast<uint32_t>(lone.index.size()));
    }
  }
  const auto value = static_cast<float>(9 * norm / std::sqrt(static_cast<double>(lone.index.size())));
  lone.value.assign(lone.index.size(), floats ? std::bit_cast<int32_t>(value) : level);
  lone.scales.assign(plan.segments().size(), floats ? 1.0f : value / static_cast<float>(level));
  return optim::EncodePayload(shape, lone);
}

// Each class falls to the sites by shares of its own (Dirichlet); nobody is left without rows.
std::vector<Site> Share(const ToyFederation& federation, const OptimizerOptions& honest, const OptimizerOptions& hostile,
                        const optim::Layout& layout, const Table& table, int64_t trained) {
  std::mt19937_64 random = Random(federation.seed);
  std::vector<Site> sites(federation.sites);
  std::gamma_distribution<double> gamma(federation.skew, 1.0);
  for (int c = 0; c < table.classes; ++c) {
    std::vector<double> shares(sites.size());
    std::generate(shares.begin(), shares.end(), [&] { return gamma(random) + 1e-9; });
    std::discrete_distribution<size_t> of(shares.begin(), shares.end());
    for (int64_t row = 0; row < trained; ++row) {
      if (table.labels[row] == c) {
        sites[of(random)].rows.push_back(row);
      }
    }
  }
  for (size_t i = 0; i < sites.size(); ++i) {
    if (sites[i].rows.empty()) {
      sites[i].rows.push_back(static_cast<int64_t>(random() % static_cast<uint64_t>(trained)));
    }
    sites[i].random = Random(federation.seed * 1000 + i);
    const bool is_hostile = i < static_cast<size_t>(federation.hostile);
    sites[i].encoder = *optim::MakeUpdateEncoder(is_hostile ? hostile : honest, layout);
  }
  return sites;
}

}  // namespace

absl::string_view AttackName(Attack attack) {
  switch (attack) {
    case Attack::kNone:
      return "none";
    case Attack::kSignFlip:
      return "sign flip x10";
    case Attack::kLabelFlip:
      return "label flip";
    case Attack::kInnerProduct:
      return "inner product";
    case Attack::kALittleIsEnough:
      return "a little is enough";
    case Attack::kLoneSupport:
      return "lone support";
    case Attack::kScaledNoise:
      return "noise x10";
    case Attack::kSilent:
      return "silent";
  }
  return "unknown";
}

Table MakeClouds(int64_t rows, uint64_t seed) {
  std::mt19937_64 random = Random(seed);
  std::normal_distribution<float> normal(0.0f, 1.0f);
  Table table{.features = 16, .classes = 6, .values = {}, .labels = {}};
  std::vector<float> centres(table.classes * table.features);
  std::generate(centres.begin(), centres.end(), [&] { return normal(random); });
  for (int64_t row = 0; row < rows; ++row) {
    const int label = static_cast<int>(random() % static_cast<uint64_t>(table.classes));
    table.labels.push_back(label);
    for (int64_t i = 0; i < table.features; ++i) {
      table.values.push_back((centres[label * table.features + i] + 0.9f * normal(random)) / 3);
    }
  }
  return table;
}

absl::StatusOr<Table> ReadTable(absl::string_view csv) {
  Table table;
  float largest = 1;
  for (const absl::string_view line : absl::StrSplit(csv, '\n', absl::SkipEmpty())) {
    const std::vector<absl::string_view> cells = absl::StrSplit(line, ',');
    table.features = static_cast<int64_t>(cells.size()) - 1;
    for (size_t i = 0; i < cells.size(); ++i) {
      float value = 0;
      if (!absl::SimpleAtof(cells[i], &value)) {
        return absl::InvalidArgumentError("not a table of numbers");
      }
      if (i + 1 < cells.size()) {
        table.values.push_back(value);
        largest = std::max(largest, value);
      } else {
        table.labels.push_back(static_cast<int>(value));
        table.classes = std::max(table.classes, static_cast<int>(value) + 1);
      }
    }
  }
  if (table.features < 1 || table.values.size() != static_cast<size_t>(table.features * table.rows())) {
    return absl::InvalidArgumentError("rows of different lengths, or none");
  }
  for (float& value : table.values) {
    value /= largest;
  }
  return table;
}

double Accuracy(const ToyFederation& federation, const OptimizerOptions& options, Attack attack, const Table& table, LeftOut* left_out) {
  const int64_t trained = table.rows() * 5 / 6;
  const Perceptron model(table.features, federation.hidden, table.classes);
  // A hostile worker does not clip.
  OptimizerOptions unclipped = options;
  unclipped.clip_norm = 0;
  std::vector<Site> sites = Share(federation, options, unclipped, model.layout(), table, trained);
  const std::unique_ptr<optim::Aggregator> aggregator = *optim::MakeAggregator(options, model.layout());
  optim::ReplicaState state = *optim::InitialState(options, model.layout(), model.Initial(federation.seed));
  std::vector<int> senders;
  const auto hostile = static_cast<size_t>(attack == Attack::kNone ? 0 : federation.hostile);
  for (uint64_t r = 1; r <= federation.rounds; ++r) {
    const optim::RoundParameters round = optim::ParametersForRound(options, r);
    std::vector<std::vector<float>> directions;
    for (size_t i = 0; i < sites.size(); ++i) {
      const bool flips = i < hostile && attack == Attack::kLabelFlip;
      directions.push_back(DirectionOf(options, round, model, state.theta, table, federation.batch, flips, sites[i]));
    }
    const std::vector<std::vector<float>> honest(directions.begin() + static_cast<int64_t>(hostile), directions.end());
    std::vector<std::string> updates(sites.size());
    for (size_t i = sites.size(); i-- > 0;) {
      if (i < hostile && attack == Attack::kLoneSupport) {
        updates[i] = LoneUpdate(options, model.layout(), {updates.begin() + static_cast<int64_t>(hostile), updates.end()}, senders);
        continue;
      }
      const std::vector<float> direction = i < hostile ? Twist(attack, std::move(directions[i]), honest, sites[i]) : directions[i];
      absl::StatusOr<std::string> update = sites[i].encoder->Encode(round, direction);
      if (update.ok()) {
        updates[i] = *std::move(update);
      }
    }
    TRIBUTARY_ASSERT(aggregator->BeginRound(round, static_cast<uint32_t>(sites.size())).ok(), "round ", r);
    for (size_t i = 0; i < sites.size(); ++i) {
      const std::string site = absl::StrCat("site-", i);
      if (left_out != nullptr && *aggregator->ShareOf(0, site) == 0) {
        const size_t alike = i < hostile ? hostile : sites.size() - hostile;
        (i < hostile ? left_out->hostile : left_out->honest) += 1.0 / static_cast<double>(alike * federation.rounds);
      }
      const bool included = !updates[i].empty() && aggregator->Add(updates[i], optim::kMaxWeight, site).ok();
      sites[i].encoder->Settle(included ? optim::UpdateFate::kIncluded : optim::UpdateFate::kNotIncluded);
    }
    const absl::StatusOr<optim::Commit> commit = aggregator->Finish();
    if (!commit.ok() || !optim::Apply(options, model.layout(), *commit, state).ok()) {
      return 0;  // the model is beyond repair
    }
  }
  int64_t right = 0;
  for (int64_t row = trained; row < table.rows(); ++row) {
    right += model.Classify(state.theta, table.values.data() + row * table.features) == table.labels[row] ? 1 : 0;
  }
  return static_cast<double>(right) / static_cast<double>(table.rows() - trained);
}

}  // namespace tributary
