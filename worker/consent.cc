#include "worker/consent.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/exit_codes.h"
#include "common/status_macros.h"
#include "optim/chunk_plan.h"
#include "optim/commit.h"
#include "optim/encoder.h"
#include "optim/layout.h"
#include "optim/model_spec.h"
#include "optim/modes.h"
#include "optim/options.h"
#include "optim/replica_state.h"
#include "proto/config/run_options.h"

namespace tributary::worker {
namespace {

absl::Status Refusal(absl::string_view rule, absl::string_view allowed, absl::string_view asked) {
  return WithExitCode(absl::PermissionDeniedError(absl::StrCat("consent.", rule, " of this site allows ", allowed, "; the run ", asked)),
                      ExitCode::kConsent);
}

// Fewer samples than these are few.
constexpr uint32_t kSmallGradient = 8;

std::string ModeNameOf(v1::OptimizerSpec::Mode mode) {
  return absl::AsciiStrToLower(v1::OptimizerSpec::Mode_Name(mode));
}

// Of a sparse mode: of components that are kept. The modes' defaults keep less than a tenth of it.
constexpr double kManyComponents = 1. / 8;

bool SendsManyValues(const optim::OptimizerOptions& options, const optim::Layout& layout) {
  const optim::Family family = optim::TraitsOf(options.mode).family;
  if (family == optim::Family::kValues || family == optim::Family::kSigns) {
    return true;
  }
  const optim::ChunkPlan plan(options, layout);
  double kept = 0;
  for (const optim::SegmentShape& segment : plan.update_shape().segments) {
    kept += static_cast<double>(segment.chunk_count) * segment.max_kept;
  }
  return kept >= kManyComponents * static_cast<double>(plan.places());
}

// What a run would tell of samples, and what it may ask of this machine.
absl::Status CheckDisclosure(const v1::ConsentConfig& consent, const v1::RunSpec& spec, const RunSize& size) {
  const auto mode = spec.optimizer().mode();
  if (consent.modes_size() > 0 && std::find(consent.modes().begin(), consent.modes().end(), mode) == consent.modes().end()) {
    std::vector<std::string> allowed;
    for (const int number : consent.modes()) {
      allowed.push_back(ModeNameOf(static_cast<v1::OptimizerSpec::Mode>(number)));
    }
    return Refusal("modes", absl::StrJoin(allowed, ", "), absl::StrCat("is of mode ", ModeNameOf(mode)));
  }
  const uint32_t batch = spec.data().batch_size();
  const std::string asks_batch = absl::StrCat("has batches of ", batch);
  if (batch < consent.min_batch_size()) {
    return Refusal("min_batch_size", absl::StrCat("at least ", consent.min_batch_size()), asks_batch);
  }
  if (batch > consent.max_batch_size()) {
    return Refusal("max_batch_size", absl::StrCat("at most ", consent.max_batch_size()), asks_batch);
  }
  // As the worker computes with it, in fp32.
  if (static_cast<float>(spec.optimizer().clip_norm()) == 0 && !consent.allow_unclipped()) {
    return Refusal("allow_unclipped", "only runs that clip gradients", "does not (clip_norm 0)");
  }
  if (size.sends_many_values && size.local_steps == 1 && batch < kSmallGradient && !consent.allow_small_gradients()) {
    return Refusal("allow_small_gradients",
                   absl::StrCat("no gradient of fewer than ", kSmallGradient, " samples to be sent value by value"),
                   absl::StrCat("is of mode ", ModeNameOf(mode), ", takes 1 local step and ", asks_batch));
  }
  if (!spec.model().initial_weights().empty() && !consent.allow_initial_weights()) {
    return Refusal("allow_initial_weights", "only models that start from a seed", "starts from given weights");
  }
  if (spec.evaluation().batches() > consent.max_evaluation_batches()) {
    return Refusal("max_evaluation_batches", absl::StrCat("at most ", consent.max_evaluation_batches()),
                   absl::StrCat("evaluates ", spec.evaluation().batches(), " batches"));
  }
  return absl::OkStatus();
}

}  // namespace

bool MatchesPattern(absl::string_view pattern, absl::string_view name) {
  // Greedy with one point to return to: a later * makes earlier choices irrelevant, so this is linear in practice and never exponential.
  size_t p = 0, n = 0;
  size_t star = absl::string_view::npos, resume = 0;
  while (n < name.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      resume = n;
    } else if (p < pattern.size() && pattern[p] == name[n]) {
      ++p;
      ++n;
    } else if (star != absl::string_view::npos) {
      p = star + 1;
      n = ++resume;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') {
    ++p;
  }
  return p == pattern.size();
}

absl::Status ValidateConsent(const v1::ConsentConfig& consent) {
  for (const std::string& model : consent.models()) {
    const std::vector<std::string> kinds = ModelKinds();
    if (std::find(kinds.begin(), kinds.end(), model) == kinds.end()) {
      return absl::InvalidArgumentError(
          absl::StrCat("consent.models: '", model, "' is not a kind of model; allowed are ", absl::StrJoin(kinds, " and ")));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<RunSize> SizeOf(const v1::RunSpec& spec) {
  TRIBUTARY_RETURN_IF_ERROR(ValidateRunSpec(spec));
  TRIBUTARY_ASSIGN_OR_RETURN(const optim::ModelSpec model, ModelSpecOf(spec));
  TRIBUTARY_ASSIGN_OR_RETURN(const optim::Layout layout, optim::MakeLayout(model));
  TRIBUTARY_ASSIGN_OR_RETURN(const optim::OptimizerOptions optimizer, OptimizerOptionsOf(spec));
  return RunSize{.parameters = static_cast<uint64_t>(layout.size()),
                 .slots = static_cast<uint64_t>(optim::SlotCount(optimizer.mode)),
                 .local_steps = optimizer.local_steps,
                 .timed_steps = optim::StepsAreTimed(optimizer),
                 .sends_many_values = SendsManyValues(optimizer, layout),
                 .commit_bytes = optim::MaxPayloadBytes(optimizer, layout).commit + optim::kCommitHeadBytes};
}

absl::Status CheckConsent(const v1::ConsentConfig& consent, const v1::RunSpec& spec, const RunSize& size) {
  if (std::none_of(consent.runs().begin(), consent.runs().end(),
                   [&](const std::string& pattern) { return MatchesPattern(pattern, spec.name()); })) {
    return Refusal("runs", absl::StrCat("'", absl::StrJoin(consent.runs(), "', '"), "'"), absl::StrCat("is named '", spec.name(), "'"));
  }
  const std::string kind = ModelKindOf(spec.model());
  if (std::find(consent.models().begin(), consent.models().end(), kind) == consent.models().end()) {
    return Refusal("models", absl::StrJoin(consent.models(), ", "), absl::StrCat("trains a model of kind ", kind));
  }
  if (size.local_steps > consent.max_local_steps()) {
    return Refusal("max_local_steps", absl::StrCat("at most ", consent.max_local_steps()),
                   absl::StrCat("asks for ", size.timed_steps ? "at least " : "", size.local_steps, " local steps a round"));
  }
  if (spec.rounds() > consent.max_rounds()) {
    return Refusal("max_rounds", absl::StrCat("at most ", consent.max_rounds()), absl::StrCat("asks for ", spec.rounds(), " rounds"));
  }
  if (size.parameters > consent.max_parameters()) {
    return Refusal("max_parameters", absl::StrCat("at most ", consent.max_parameters()),
                   absl::StrCat("trains a model of ", size.parameters, " parameters"));
  }
  return CheckDisclosure(consent, spec, size);
}

absl::Status CheckRound(const v1::ConsentConfig& consent, const RunSize& size, uint32_t local_steps, float learning_rate) {
  if (size.timed_steps && local_steps > optim::kMaxLocalSteps) {
    return absl::InvalidArgumentError(
        absl::StrCat("the round scales updates to ", local_steps, " local steps, and no site takes more than ", optim::kMaxLocalSteps));
  }
  if (local_steps < 1 || (!size.timed_steps && local_steps > consent.max_local_steps())) {
    return absl::InvalidArgumentError(absl::StrCat("consent.max_local_steps of this site allows at most ", consent.max_local_steps(),
                                                   "; the round asks for ", local_steps));
  }
  if (local_steps < size.local_steps) {
    return absl::InvalidArgumentError(
        absl::StrCat("this site agreed to ", size.local_steps, " local steps a round; the round asks for ", local_steps));
  }
  if (!std::isfinite(learning_rate) || learning_rate < 0) {
    return absl::InvalidArgumentError(absl::StrCat("learning rate ", learning_rate, " is not usable"));
  }
  return absl::OkStatus();
}

absl::StatusOr<RunSize> Agree(const v1::ConsentConfig& consent, const v1::RunSpec& spec) {
  const absl::StatusOr<RunSize> size = SizeOf(spec);
  if (!size.ok()) {
    return Annotate(size.status(), "the run is not valid");
  }
  TRIBUTARY_RETURN_IF_ERROR(CheckConsent(consent, spec, *size));
  return size;
}

}  // namespace tributary::worker
