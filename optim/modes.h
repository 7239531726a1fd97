// The modes: one row each, with all that differs between them. Whoever needs to know something of a mode reads it here: options and their
// checks, chunk plan, budget, encoder, aggregator, Apply, the configuration and the command line. docs/recipes.md says how to add one.
#ifndef TRIBUTARY_OPTIM_MODES_H_
#define TRIBUTARY_OPTIM_MODES_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "optim/aggregator.h"
#include "optim/commit.h"
#include "optim/dense_modes.h"
#include "optim/encoder.h"
#include "optim/layout.h"
#include "optim/options.h"
#include "optim/replica_state.h"
#include "optim/sparse_modes.h"

namespace tributary::optim {

// What travels.
enum class Family {
  kValues,           // every parameter as fp32
  kSigns,            // every parameter's sign
  kFloatComponents,  // the k largest DCT components of a chunk as fp32, as `demo` was published
  kLevels,           // k of kChunkSize components, in one of two domains, as small integers
};

// What a mode reads of OptimizerOptions besides the schedule, rounds, clip_norm, norm_bound and weight_decay, which all modes have. A run
// that sets another key is refused.
enum class Key : uint8_t {
  kAdam,  // the three of adam
  kLocalSteps,
  kBeta,
  kK,
  kValueBits,
  kDomain,
  kNormalize,
  kCommitK,
  kOuterLearningRate,
  kOuterMomentum,
  kWeighting,
};

class Keys {
 public:
  constexpr Keys(std::initializer_list<Key> keys) {
    for (const Key key : keys) {
      bits_ |= uint32_t{1} << static_cast<int>(key);
    }
  }
  constexpr bool Has(Key key) const { return (bits_ >> static_cast<int>(key) & 1) != 0; }

 private:
  uint32_t bits_ = 0;
};

// What a budget of bytes a step chooses (budget.h).
enum class BudgetChoice { kNothing, kK, kLocalStepsThenK, kLocalSteps };

// A row without one of these does not compile.
struct ModeTraits {
  Mode mode;
  absl::string_view name;    // as in run.yaml
  absl::string_view source;  // of the algorithm and its defaults
  Family family;
  Direction direction;
  int slots;  // vectors of optimiser state at the replicas
  Keys keys;
  OptimizerOptions defaults;  // but for its mode
  BudgetChoice budget;

  // The halves of the mode; `options` have been validated, and `layout` outlives what is made.
  std::unique_ptr<UpdateEncoder> (&make_encoder)(const OptimizerOptions& options, const Layout& layout, int threads);
  std::unique_ptr<Aggregator> (&make_aggregator)(const OptimizerOptions& options, const Layout& layout);
  PayloadBounds (&bounds)(const OptimizerOptions& options, const Layout& layout);
  // The part of Apply (apply.h) that differs by mode. Apply has checked that the commit is the state's next, that state and slots have the
  // layout's size and that something is included; it advances state.round itself after success. InvalidArgument: the payload is not
  // canonical; the state is unchanged. Errors of the storage: if the payload could be read once and not again, the state is half moved.
  absl::Status (&apply)(const OptimizerOptions& options, const Layout& layout, const CommitHead& commit, const StoredBytes& payload,
                        ReplicaState& state, int threads);
};

inline constexpr auto kModes = std::to_array<ModeTraits>({
    {.mode = Mode::kAllReduce,
     .name = "allreduce",
     .source = "AdamW, Loshchilov and Hutter, arXiv 1711.05101; the usual recipe of language models: betas .9/.95, decay .1, clipping at 1",
     .family = Family::kValues,
     .direction = Direction::kGradient,
     .slots = 2,
     .keys = {Key::kAdam},
     .defaults = {.weight_decay = 0.1f},
     .budget = BudgetChoice::kNothing,
     .make_encoder = MakeValueEncoder,
     .make_aggregator = MakeValueAggregator,
     .bounds = ValuePayloadBounds,
     .apply = ApplyAdamW},
    {.mode = Mode::kDemo,
     .name = "demo",
     .source = "DeMo, Peng, Quesnelle, Kingma, arXiv 2411.19870, and its reference program",
     .family = Family::kFloatComponents,
     .direction = Direction::kGradient,
     .slots = 0,
     .keys = {Key::kBeta, Key::kK},
     .defaults = {.learning_rate = {.peak = 4e-4}, .beta = 0.999f, .k = 32, .value_bits = 8, .normalize = false, .commit_k = 0},
     .budget = BudgetChoice::kNothing,
     .make_encoder = MakeSparseEncoder,
     .make_aggregator = MakeSenderMeanAggregator,
     .bounds = SparsePayloadBounds,
     .apply = ApplySparse},
    {.mode = Mode::kDistro,
     .name = "distro",
     .source = "DeMo, arXiv 2411.19870, with few-bit values, error feedback at both ends, and integer commits",
     .family = Family::kLevels,
     .direction = Direction::kGradient,
     .slots = 0,
     .keys = {Key::kBeta, Key::kK, Key::kValueBits, Key::kDomain, Key::kNormalize, Key::kCommitK, Key::kWeighting},
     .defaults = {.beta = 0.999f, .k = 32, .value_bits = 1, .commit_k = 32, .commit_value_bits = 4},
     .budget = BudgetChoice::kK,
     .make_encoder = MakeSparseEncoder,
     .make_aggregator = MakeResidualAggregator,
     .bounds = SparsePayloadBounds,
     .apply = ApplySparse},
    {.mode = Mode::kLocal,
     .name = "local",
     .source = "SparseLoCo, arXiv 2508.15706",
     .family = Family::kLevels,
     .direction = Direction::kPseudoGradient,
     .slots = 0,
     .keys = {Key::kAdam, Key::kLocalSteps, Key::kBeta, Key::kK, Key::kValueBits, Key::kDomain, Key::kCommitK, Key::kOuterLearningRate,
              Key::kWeighting},
     .defaults = {.local_steps = 5,
                  .beta = 0.95f,
                  .k = 64,
                  .value_bits = 2,
                  .domain = Domain::kIdentity,
                  .rule = Rule::kScaled,
                  .normalize = false,
                  .commit_k = 64,
                  .commit_value_bits = 4,
                  .outer_learning_rate = 1.0f},
     .budget = BudgetChoice::kLocalStepsThenK,
     .make_encoder = MakeSparseEncoder,
     .make_aggregator = MakeResidualAggregator,
     .bounds = SparsePayloadBounds,
     .apply = ApplySparse},
    {.mode = Mode::kFedAvg,
     .name = "fedavg",
     .source = "FedAvg, McMahan et al., arXiv 1602.05629: the replicas take the mean itself",
     .family = Family::kValues,
     .direction = Direction::kPseudoGradient,
     .slots = 0,
     .keys = {Key::kAdam, Key::kLocalSteps, Key::kOuterLearningRate, Key::kWeighting},
     .defaults = {.local_steps = 10, .outer_learning_rate = 1.0f},
     .budget = BudgetChoice::kLocalSteps,
     .make_encoder = MakeValueEncoder,
     .make_aggregator = MakeValueAggregator,
     .bounds = ValuePayloadBounds,
     .apply = ApplyMean},
    {.mode = Mode::kDiLoCo,
     .name = "diloco",
     .source = "DiLoCo, Douillard et al., arXiv 2311.08105",
     .family = Family::kValues,
     .direction = Direction::kPseudoGradient,
     .slots = 1,
     .keys = {Key::kAdam, Key::kLocalSteps, Key::kOuterLearningRate, Key::kOuterMomentum, Key::kWeighting},
     .defaults = {.local_steps = 50, .outer_learning_rate = 0.7f, .outer_momentum = 0.9f},
     .budget = BudgetChoice::kLocalSteps,
     .make_encoder = MakeValueEncoder,
     .make_aggregator = MakeValueAggregator,
     .bounds = ValuePayloadBounds,
     .apply = ApplyNesterov},
    {.mode = Mode::kSignSgd,
     .name = "signsgd",
     .source = "signSGD with majority vote, Bernstein et al., arXiv 1810.05291: a step moves every weight, so it is small",
     .family = Family::kSigns,
     .direction = Direction::kGradient,
     .slots = 0,
     .keys = {},
     .defaults = {.learning_rate = {.peak = 1e-4}},
     .budget = BudgetChoice::kNothing,
     .make_encoder = MakeSignEncoder,
     .make_aggregator = MakeSignAggregator,
     .bounds = SignPayloadBounds,
     .apply = ApplyVote},
});

// Rows lie by the value of Mode. (That there is one for every mode, proto/config/run_options.cc asserts, where a mode gets its number.)
constexpr const ModeTraits& TraitsOf(Mode mode) {
  return kModes[static_cast<size_t>(mode)];
}
static_assert([] {
  for (size_t i = 0; i < kModes.size(); ++i) {
    if (kModes[i].mode != static_cast<Mode>(i)) {
      return false;
    }
  }
  return true;
}());

}  // namespace tributary::optim

#endif  // TRIBUTARY_OPTIM_MODES_H_
