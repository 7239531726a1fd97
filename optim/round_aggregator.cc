#include "optim/round_aggregator.h"

#include <bit>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/assert.h"
#include "common/bytes.h"
#include "common/status_macros.h"
#include "optim/sealed_state.h"

namespace tributary::optim {
namespace {

std::string PartialKind(const OptimizerOptions& options) {
  return absl::StrCat("partial sum ", ModeName(options.mode));
}

// State of a run that bounds norms, or asks who agrees: what it knows of that, behind its length, then the family's own.
constexpr absl::string_view kGatedKind = "aggregator with norms";
constexpr absl::string_view kAgreedKind = "aggregator with agreement";

std::string SealBoth(absl::string_view kind, const Layout& layout, absl::string_view known, absl::string_view sum) {
  std::string sized;
  AppendField<uint64_t>(known, sized);
  return SealState(kind, layout, {sized, sum});
}

struct Both {
  absl::string_view known;
  absl::string_view sum;
};

absl::StatusOr<Both> OpenBoth(absl::string_view kind, const Layout& layout, absl::string_view state) {
  TRIBUTARY_ASSIGN_OR_RETURN(const absl::string_view body, OpenState(kind, layout, state));
  ByteReader reader(body);
  Both both;
  if (!reader.ReadField<uint64_t>(both.known)) {
    return absl::DataLossError(absl::StrCat("saved ", kind, " state: shorter than it says"));
  }
  both.sum = reader.rest();
  return both;
}

absl::Status Canonical(absl::string_view kind, const absl::Status& restored) {
  return restored.ok() ? restored : absl::DataLossError(absl::StrCat("saved ", kind, " state: ", restored.message()));
}

// What a partial sum says of itself before its sums.
struct PartialHead {
  RoundParameters parameters;
  uint32_t members = 0;
  uint32_t added = 0;
  uint64_t weights = 0;
};

void Append(const PartialHead& head, std::string& out) {
  AppendLittleEndian<uint64_t>(head.parameters.round, out);
  AppendLittleEndian<float>(head.parameters.learning_rate, out);
  AppendLittleEndian<uint32_t>(head.parameters.local_steps, out);
  AppendLittleEndian<uint32_t>(head.members, out);
  AppendLittleEndian<uint32_t>(head.added, out);
  AppendLittleEndian<uint64_t>(head.weights, out);
}

bool Read(ByteReader& reader, PartialHead& head) {
  return reader.Read(head.parameters.round) && reader.Read(head.parameters.learning_rate) && reader.Read(head.parameters.local_steps) &&
         reader.Read(head.members) && reader.Read(head.added) && reader.Read(head.weights);
}

std::string Describe(const RoundParameters& parameters, uint32_t members) {
  return absl::StrCat("round ", parameters.round, ", learning rate ", parameters.learning_rate, ", ", parameters.local_steps,
                      " local steps, ", members, " members");
}

bool SameBits(const RoundParameters& a, const RoundParameters& b) {
  return a.round == b.round && std::bit_cast<uint32_t>(a.learning_rate) == std::bit_cast<uint32_t>(b.learning_rate) &&
         a.local_steps == b.local_steps;
}

}  // namespace

absl::Status RoundAggregator::BeginRound(const RoundParameters& parameters, uint32_t members) {
  if (members < 1 || members > kMaxWorkers) {
    return absl::InvalidArgumentError(absl::StrCat("a round for ", members, " updates; allowed: 1 to ", kMaxWorkers));
  }
  if (!std::isfinite(parameters.learning_rate) || parameters.learning_rate < 0) {
    return absl::InvalidArgumentError(absl::StrCat("round ", parameters.round, ": learning rate ", parameters.learning_rate));
  }
  if (open_ && added_ > 0) {
    return absl::FailedPreconditionError(absl::StrCat("round ", parameters_.round, " is open and holds ", added_, " updates"));
  }
  open_ = true;
  parameters_ = parameters;
  members_ = members;
  added_ = 0;
  weights_ = 0;
  gate_.Open(parameters);
  if (agreement_.has_value()) {
    agreement_->Open();
  }
  Open();
  return absl::OkStatus();
}

absl::Status RoundAggregator::Take(uint32_t weight, absl::FunctionRef<absl::StatusOr<double>()> sum) {
  if (!open_) {
    return absl::FailedPreconditionError("no round is open");
  }
  if (added_ == members_) {
    return absl::FailedPreconditionError(absl::StrCat("round ", parameters_.round, " has all its ", members_, " updates"));
  }
  TRIBUTARY_RETURN_IF_ERROR(CheckWeight(options_, weight));
  TRIBUTARY_ASSIGN_OR_RETURN(const double norm, sum());
  gate_.Add(norm);
  ++added_;
  weights_ += weight;
  return absl::OkStatus();
}

absl::Status RoundAggregator::TakeBack(uint32_t weight, absl::FunctionRef<absl::StatusOr<double>()> sum) {
  if (!open_ || added_ == 0) {
    return absl::FailedPreconditionError("no round is open that holds an update");
  }
  TRIBUTARY_RETURN_IF_ERROR(CheckWeight(options_, weight));
  TRIBUTARY_ASSIGN_OR_RETURN(const double norm, sum());
  gate_.Remove(norm);
  --added_;
  weights_ -= weight;
  return absl::OkStatus();
}

absl::StatusOr<double> RoundAggregator::ShareOf(double norm, absl::string_view site) const {
  TRIBUTARY_ASSIGN_OR_RETURN(const double share, BoundedShare(norm));
  return agreement_.has_value() && agreement_->LeavesOut(site) ? 0.0 : share;
}

absl::Status RoundAggregator::Add(absl::string_view payload, uint32_t weight, absl::string_view site) {
  return Take(weight, [&] { return agreement_.has_value() ? SumAgreed(payload, weight, 1, site) : Sum(payload, weight, 1); });
}

absl::Status RoundAggregator::AddStored(SharedBytes payload, uint32_t weight, std::optional<double> norm, absl::string_view site) {
  if (agreement_.has_value()) {
    std::string scratch;
    TRIBUTARY_ASSIGN_OR_RETURN(const absl::string_view bytes, payload->Slice(0, payload->size(), scratch));
    return Add(bytes, weight, site);
  }
  return Take(weight, [&] { return SumStored(payload, weight, 1, norm); });
}

absl::Status RoundAggregator::Remove(absl::string_view payload, uint32_t weight, absl::string_view site) {
  return TakeBack(weight, [&] { return agreement_.has_value() ? SumAgreed(payload, weight, -1, site) : Sum(payload, weight, -1); });
}

absl::Status RoundAggregator::RemoveStored(const SharedBytes& payload, uint32_t weight, absl::string_view site) {
  if (agreement_.has_value()) {
    std::string scratch;
    TRIBUTARY_ASSIGN_OR_RETURN(const absl::string_view bytes, payload->Slice(0, payload->size(), scratch));
    return Remove(bytes, weight, site);
  }
  return TakeBack(weight, [&] { return SumStored(payload, weight, -1, std::nullopt); });
}

absl::StatusOr<double> RoundAggregator::SumAgreed(absl::string_view payload, uint32_t weight, int sign, absl::string_view site) {
  TRIBUTARY_ASSIGN_OR_RETURN(const double norm, agreement_->LeavesOut(site) ? Measure(payload) : Sum(payload, weight, sign));
  const auto update = [&](Agreement::Vote vote) { VisitVotes(payload, vote); };
  if (sign > 0) {
    agreement_->Add(site, update);
  } else {
    agreement_->Remove(site, update);
  }
  return norm;
}

void RoundAggregator::VisitVotes(absl::string_view, Agreement::Vote) const {
  TRIBUTARY_ASSERT(false, "mode ", ModeName(options_.mode), " has no votes");
}

absl::StatusOr<double> RoundAggregator::SumStored(const SharedBytes& payload, uint32_t weight, int sign, std::optional<double>) {
  std::string scratch;
  TRIBUTARY_ASSIGN_OR_RETURN(const absl::string_view bytes, payload->Slice(0, payload->size(), scratch));
  return Sum(bytes, weight, sign);
}

absl::StatusOr<CommitHead> RoundAggregator::Close(int threads, absl::FunctionRef<absl::Status(const CommitHead& head)> begin,
                                                  ByteSink sink) {
  if (!open_) {
    return absl::FailedPreconditionError("no round is open");
  }
  open_ = false;
  CommitHead head{.round = parameters_.round, .learning_rate = CommitRate(), .included = added_, .payload_bytes = 0};
  if (added_ == 0) {
    TRIBUTARY_RETURN_IF_ERROR(begin(head));
    return head;
  }
  const auto begin_payload = [&](uint64_t bytes) {
    head.payload_bytes = bytes;
    return begin(head);
  };
  TRIBUTARY_RETURN_IF_ERROR(Collect(threads, begin_payload, sink));
  gate_.Close();
  if (agreement_.has_value()) {
    agreement_->Close();
  }
  return head;
}

absl::StatusOr<Commit> RoundAggregator::Finish() {
  Commit commit;
  const auto begin = [&commit](const CommitHead& head) {
    commit.payload.reserve(head.payload_bytes);
    return absl::OkStatus();
  };
  const auto append = [&commit](absl::string_view piece) {
    absl::StrAppend(&commit.payload, piece);
    return absl::OkStatus();
  };
  TRIBUTARY_ASSIGN_OR_RETURN(const CommitHead head, Close(1, begin, append));
  commit.round = head.round;
  commit.learning_rate = head.learning_rate;
  commit.included = head.included;
  return commit;
}

absl::StatusOr<CommitHead> RoundAggregator::FinishRecord(ByteSink sink, int threads) {
  return Close(
      threads, [&](const CommitHead& head) { return sink(EncodeCommitHead(head)); }, sink);
}

absl::StatusOr<std::string> RoundAggregator::ExportPartial() {
  if (!open_) {
    return absl::FailedPreconditionError("no round is open");
  }
  if (HoldsResidual()) {
    return absl::FailedPreconditionError(
        "the sum holds what earlier commits left out; only an aggregator that makes none has partial sums");
  }
  if (gate_.bounds()) {
    return absl::FailedPreconditionError("the run bounds its updates by norms that the root alone knows; it has no partial sums");
  }
  if (agreement_.has_value()) {
    return absl::FailedPreconditionError("who agrees with the others the root alone knows; the run has no partial sums");
  }
  open_ = false;
  std::string body;
  Append({.parameters = parameters_, .members = members_, .added = added_, .weights = weights_}, body);
  TRIBUTARY_RETURN_IF_ERROR(TakeSums(body));
  return SealState(PartialKind(options_), layout_, body);
}

std::string RoundAggregator::SaveState() const {
  std::string state = SaveSum();
  if (agreement_.has_value()) {
    state = SealBoth(kAgreedKind, layout_, agreement_->Save(), state);
  }
  return gate_.bounds() ? SealBoth(kGatedKind, layout_, gate_.Save(), state) : state;
}

absl::Status RoundAggregator::RestoreState(absl::string_view state) {
  // Nothing is changed before all of it is known to be good.
  Both norms{.known = {}, .sum = state};
  if (gate_.bounds()) {
    TRIBUTARY_ASSIGN_OR_RETURN(norms, OpenBoth(kGatedKind, layout_, state));
    TRIBUTARY_RETURN_IF_ERROR(Canonical(kGatedKind, NormGate(options_, layout_).Restore(norms.known)));
  }
  Both agreed{.known = {}, .sum = norms.sum};
  std::optional<Agreement> agreement = agreement_;
  if (agreement.has_value()) {
    TRIBUTARY_ASSIGN_OR_RETURN(agreed, OpenBoth(kAgreedKind, layout_, norms.sum));
    TRIBUTARY_RETURN_IF_ERROR(Canonical(kAgreedKind, agreement->Restore(agreed.known)));
  }
  TRIBUTARY_RETURN_IF_ERROR(RestoreSum(agreed.sum));
  if (gate_.bounds()) {
    TRIBUTARY_RETURN_IF_ERROR(gate_.Restore(norms.known));
  }
  agreement_ = std::move(agreement);
  open_ = false;
  return absl::OkStatus();
}

absl::Status RoundAggregator::MergePartial(absl::string_view partial) {
  if (!open_) {
    return absl::FailedPreconditionError("no round is open");
  }
  TRIBUTARY_ASSIGN_OR_RETURN(const absl::string_view body, OpenState(PartialKind(options_), layout_, partial));
  ByteReader reader(body);
  PartialHead head;
  if (!Read(reader, head)) {
    return absl::InvalidArgumentError("partial sum: shorter than its head");
  }
  if (!SameBits(head.parameters, parameters_) || head.members != members_) {
    return absl::InvalidArgumentError(
        absl::StrCat("partial sum: of ", Describe(head.parameters, head.members), "; open is ", Describe(parameters_, members_)));
  }
  if (head.added > members_ - added_) {
    return absl::FailedPreconditionError(absl::StrCat("round ", parameters_.round, " has ", added_, " of its ", members_,
                                                      " updates, and a partial sum brings ", head.added));
  }
  const uint64_t most = uint64_t{head.added} * kMaxWeight;
  const uint64_t least = options_.weighting == Weighting::kUniform ? most : head.added;
  if (head.weights < least || head.weights > most) {
    return absl::InvalidArgumentError(
        absl::StrCat("partial sum: ", head.added, " updates of weight ", head.weights, "; allowed: ", least, " to ", most));
  }
  TRIBUTARY_RETURN_IF_ERROR(Annotate(MergeSums(reader.rest(), head.added, head.weights), "partial sum"));
  added_ += head.added;
  weights_ += head.weights;
  return absl::OkStatus();
}

}  // namespace tributary::optim
