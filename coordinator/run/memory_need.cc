#include "coordinator/run/memory_need.h"

#include <algorithm>

#include "optim/aggregator.h"
#include "optim/chunk_plan.h"
#include "optim/encoder.h"
#include "optim/modes.h"
#include "optim/norm_gate.h"

namespace tributary::coordinator {
namespace {

// What gRPC may hold of a transfer, and the slices that a thread works on.
constexpr uint64_t kTransferBytes = uint64_t{4} << 20;
constexpr uint64_t kSlicesOfThread = uint64_t{2} << 20;

bool InFiles(const RunModel& model, LongUpdates where) {
  return where == LongUpdates::kInFiles && optim::UpdatesStayStored(model.options.mode);
}

// Of who asks how sites agree: a direction and the votes of a round.
uint64_t AgreementBytes(const RunModel& model) {
  if (model.options.aggregation != optim::Aggregation::kAgreement) {
    return 0;
  }
  const bool signs = optim::TraitsOf(model.options.mode).family == optim::Family::kSigns;
  const int64_t places = signs ? model.layout.size() : optim::ChunkPlan(model.options, model.layout).places();
  return static_cast<uint64_t>(places) * 2 * sizeof(int16_t);
}

// Of the aggregator, from its making on (sparse modes) or from the first round on (dense ones).
uint64_t SumBytes(const RunModel& model, LongUpdates where) {
  if (InFiles(model, where)) {
    return 0;
  }
  const optim::OptimizerOptions& options = model.options;
  switch (optim::TraitsOf(options.mode).family) {
    case optim::Family::kValues:
      if (optim::HoldsUpdates(options)) {
        return 0;  // but all of the round's updates: MemoryForRounds
      }
      return static_cast<uint64_t>(model.layout.size()) * sizeof(int64_t);
    case optim::Family::kSigns:
      return static_cast<uint64_t>(model.layout.size()) * sizeof(int16_t) + AgreementBytes(model);
    case optim::Family::kFloatComponents:
      return static_cast<uint64_t>(optim::ChunkPlan(options, model.layout).places()) * (sizeof(int64_t) + sizeof(uint16_t));
    case optim::Family::kLevels: {
      const bool narrow = options.rule == optim::Rule::kSign && options.normalize && options.weighting == optim::Weighting::kUniform;
      const uint64_t place = (narrow ? sizeof(int32_t) : sizeof(int64_t)) + (options.commit_k == 0 ? sizeof(uint16_t) : 0);
      return static_cast<uint64_t>(optim::ChunkPlan(options, model.layout).places()) * place + AgreementBytes(model);
    }
  }
  return 0;
}

// What snapshots hold of the aggregator: sums are a residual in the modes that have one.
uint64_t AggregatorSnapshotBytes(const RunModel& model) {
  const bool agrees = model.options.aggregation == optim::Aggregation::kAgreement;
  if (optim::TraitsOf(model.options.mode).family != optim::Family::kLevels && !agrees) {
    return 0;
  }
  // Once more while it is sealed together with the norms, or with how sites agree.
  return SumBytes(model, LongUpdates::kInMemory) * (optim::BoundsNorms(model.options) || agrees ? 2 : 1);
}

}  // namespace

MemoryNeed MemoryToSubmit(const RunModel& model) {
  return {{{"model state", model.SnapshotBytes()}}};
}

MemoryNeed MemoryToHold(const RunModel& model, LongUpdates where) {
  return {{{"model state", model.SnapshotBytes()},
           {"sums of a round", SumBytes(model, where)},
           {"the residual's snapshot", AggregatorSnapshotBytes(model)}}};
}

MemoryNeed MemoryForRounds(const RunModel& model, uint64_t members, LongUpdates where) {
  if (InFiles(model, where)) {
    return {{{"model state", model.SnapshotBytes()},
             {"updates on their way", members * kTransferBytes},
             {"slices", static_cast<uint64_t>(model.threads) * kSlicesOfThread}}};
  }
  const optim::PayloadBounds payloads = optim::MaxPayloadBytes(model.options, model.layout);
  // A snapshot is written after the commit, when the updates are gone.
  const uint64_t all = members * payloads.update;
  // Where the sum is an order of values, it is made of all of them.
  const uint64_t incoming = optim::HoldsUpdates(model.options) ? 2 * all : std::min(all, std::max(kMaxSpoolBytes, payloads.update));
  // The commit, its record, and the message that it travels in.
  const uint64_t commit = 3 * payloads.commit;
  const uint64_t snapshot = AggregatorSnapshotBytes(model);
  MemoryNeed need{{{"model state", model.SnapshotBytes()}, {"sums of a round", SumBytes(model, where)}}};
  if (incoming + commit >= snapshot) {
    need.terms.push_back({"updates on their way in", incoming});
    need.terms.push_back({"commit", commit});
  } else {
    need.terms.push_back({"the residual's snapshot", snapshot});
  }
  return need;
}

}  // namespace tributary::coordinator
