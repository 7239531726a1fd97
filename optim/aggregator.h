// The coordinator's half of a mode: many updates into one commit, in the compressed domain.
//
// Sums are integers, so any order of arrival gives the same commit, and memory is O(model), not O(workers x model). Where an update is as
// long as the model, updates and commit can stay in files, and there is only a slice of each in memory.
#ifndef TRIBUTARY_OPTIM_AGGREGATOR_H_
#define TRIBUTARY_OPTIM_AGGREGATOR_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/byte_sink.h"
#include "common/stored_bytes.h"
#include "optim/commit.h"
#include "optim/layout.h"
#include "optim/options.h"

namespace tributary::optim {

// Weights only count against each other; equal ones give the plain mean.
inline constexpr uint32_t kMaxWeight = uint32_t{1} << 24;

// Of an update of a site with so many training samples: kMaxWeight in uniform runs, else the samples, as far as kMaxWeight.
// InvalidArgument: a run that weighs by samples, and none are given.
absl::StatusOr<uint32_t> WeightOf(const OptimizerOptions& options, uint64_t samples);
// InvalidArgument: not 1..kMaxWeight, or another than kMaxWeight in a uniform run.
absl::Status CheckWeight(const OptimizerOptions& options, uint32_t weight);

// Whether updates of this mode are as long as the model (allreduce, fedavg, diloco), and an aggregator leaves them where AddStored finds
// them. Every payload of such a run has one length, that of MaxPayloadBytes.
bool UpdatesStayStored(Mode mode);
// Of such a mode: Measure of an update that is kept elsewhere, in slices. InvalidArgument as Measure. Errors of the storage. Thread-safe.
absl::StatusOr<double> MeasureStoredUpdate(const OptimizerOptions& options, const Layout& layout, const StoredBytes& payload);
// Whether an aggregator of the run needs all updates of a round at once, and holds those that are not stored until it is closed.
bool HoldsUpdates(const OptimizerOptions& options);
// Length of the record of a commit that includes something, where it is known before: as UpdatesStayStored.
std::optional<uint64_t> FixedRecordBytes(const OptimizerOptions& options, const Layout& layout);

// Holds the accumulator, the server-side residual, and what a run knows of earlier updates: the norms by which it bounds them
// (norm_gate.h), and how sites agree (agreement.h). Not thread-safe: one caller at a time (Measure and ShareOf are const and may run beside
// each other).
//
// Of an update, `site` says whose it is. Only runs with Aggregation::kAgreement look at it, and there a site has one update in a round.
class Aggregator {
 public:
  virtual ~Aggregator() = default;

  // Decides, without touching the accumulator, whether `payload` is the canonical encoding of an update of this layout and mode:
  // shape, bounds, order, finiteness. InvalidArgument says which check failed and where. Returns the L2 norm of what it decodes to, the
  // same bits on every machine; 0 in a run that bounds no norms.
  virtual absl::StatusOr<double> Measure(absl::string_view payload) const = 0;
  absl::Status Check(absl::string_view payload) const { return Measure(payload).status(); }

  // What the sum of the open round takes of an update of this norm: 1, or less if it is scaled down to the bound; 0 if the round does
  // without the site: its updates are counted, and come to nothing. OutOfRange: it is too large to be taken at all.
  virtual absl::StatusOr<double> ShareOf(double norm, absl::string_view site = {}) const = 0;

  // Opens the sum of a round for at most `members` updates (1..kMaxWorkers). FailedPrecondition: a round is open and holds updates; Finish
  // it, or Remove them.
  virtual absl::Status BeginRound(const RoundParameters& parameters, uint32_t members) = 0;

  // Adds one update, or its share. Checks first, the weight too; an error leaves the sum unchanged. FailedPrecondition: no round open, or
  // more than `members` updates. OutOfRange: as ShareOf.
  virtual absl::Status Add(absl::string_view payload, uint32_t weight = kMaxWeight, absl::string_view site = {}) = 0;

  // As Add, of an update that is kept elsewhere, and stays there unchanged until the round is closed or the update is taken back. Modes
  // whose updates stay stored (UpdatesStayStored) only remember it and read it when the round is closed: that MeasureStoredUpdate has
  // found it valid is the caller's word, and only its length is checked; `norm` is what it found, and is read from the update if it is not
  // given. Other modes read it now. Errors of the storage.
  virtual absl::Status AddStored(SharedBytes payload, uint32_t weight = kMaxWeight, std::optional<double> norm = std::nullopt,
                                 absl::string_view site = {}) = 0;

  // Takes an update of the open round back; without any, the round is as if none had come. Nobody keeps the updates for this, so that
  // memory stays O(model): that it is one that was added is the caller's word. FailedPrecondition: no round open, or no update in it.
  virtual absl::Status Remove(absl::string_view payload, uint32_t weight = kMaxWeight, absl::string_view site = {}) = 0;
  // Takes one back that AddStored was given: the same object. FailedPrecondition: as Remove, and where updates stay stored, if it is not
  // among them with this weight.
  virtual absl::Status RemoveStored(const SharedBytes& payload, uint32_t weight = kMaxWeight, absl::string_view site = {}) = 0;

  // Closes the round: weighted mean over what was added, re-selected and re-quantised, what is left out stays in the server-side residual.
  // Errors of the storage where updates stay stored; DataLoss, exit code kDamaged: one of them is no longer valid. The round is closed
  // then, too.
  virtual absl::StatusOr<Commit> Finish() = 0;
  // The same, and the commit's record (EncodeCommit) goes to `sink`, in pieces of at most kSliceBytes if updates stay stored, so
  // that a slice for each of `threads` >= 1 is all there is in memory. Errors: the sink's, too; the residual has moved then, and
  // RestoreState is the way back.
  virtual absl::StatusOr<CommitHead> FinishRecord(ByteSink sink, int threads = 1) = 0;

  // Partial sums: where many updates are summed by a tree of aggregators of the same run, all with the same round parameters and `members`
  // (those of the whole tree), the root makes the commit that it would have made of the updates themselves.
  //
  // Closes the round and hands out what was added to it. FailedPrecondition: no round open, commits of this aggregator have left a
  // residual in its sum, or the run bounds norms or asks who agrees, which only the root knows. Errors of reading as Finish.
  virtual absl::StatusOr<std::string> ExportPartial() = 0;
  // Adds what ExportPartial handed out. Errors leave the sum unchanged. FailedPrecondition: no round open, or more than `members` updates.
  // DataLoss: damaged, or of another layout or mode. InvalidArgument: of another round or other members, not canonical, or more than so
  // many updates can sum to; so accepted sums never overflow.
  virtual absl::Status MergePartial(absl::string_view partial) = 0;

  // The server-side residual, and what is known of updates of committed rounds; only while no round is open, or none with updates. A
  // coordinator that restores it and adds the same updates makes the same commits.
  virtual std::string SaveState() const = 0;
  // Ends an open round, too. DataLoss: not a state of this layout and mode, or damaged; the aggregator is unchanged.
  virtual absl::Status RestoreState(absl::string_view state) = 0;
};

// `layout` must outlive the aggregator. InvalidArgument as Validate(options).
absl::StatusOr<std::unique_ptr<Aggregator>> MakeAggregator(const OptimizerOptions& options, const Layout& layout);

}  // namespace tributary::optim

#endif  // TRIBUTARY_OPTIM_AGGREGATOR_H_
