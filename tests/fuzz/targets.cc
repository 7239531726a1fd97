#include "tests/fuzz/targets.h"

#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <memory>

#include "common/bytes.h"
#include "common/checksum.h"
#include "common/safetensors.h"
#include "optim/aggregator.h"
#include "optim/apply.h"
#include "optim/commit.h"
#include "optim/encoder.h"
#include "optim/layout.h"
#include "optim/modes.h"
#include "optim/options.h"
#include "optim/payload.h"
#include "optim/replica_state.h"
#include "optim/snapshot.h"
#include "tests/fuzz/must.h"

namespace tributary::fuzz {
namespace {

using namespace ::tributary::optim;

// Payload: a byte for value_bits, one for the number of segments, three for each segment's shape, then the payload.

constexpr uint32_t kValueBits[] = {1, 2, 4, 8, 24, 32};

PayloadShape TakeShape(absl::string_view& input) {
  PayloadShape shape;
  shape.value_bits = kValueBits[TakeByte(input) % std::size(kValueBits)];
  for (int s = TakeByte(input) % 4; s > 0; --s) {
    SegmentShape segment;
    segment.chunk_count = TakeByte(input) % 8;
    const uint32_t length = TakeByte(input);
    segment.chunk_length = 1 + (length * length) % kChunkSize;
    segment.max_kept = TakeByte(input);
    shape.segments.push_back(segment);
  }
  return shape;
}

void RunPayload(absl::string_view input) {
  const PayloadShape shape = TakeShape(input);
  SparseValues values;
  if (!DecodePayload(shape, input, values).ok()) {
    return;
  }
  Must(input.size() <= MaxPayloadBytes(shape), "an accepted payload is within the bound");
  size_t chunk = 0;
  for (const SegmentShape& segment : shape.segments) {
    for (uint32_t c = 0; c < segment.chunk_count; ++c, ++chunk) {
      const uint32_t begin = values.chunk_begin[chunk];
      const uint32_t end = values.chunk_begin[chunk + 1];
      Must(begin <= end && end - begin <= segment.max_kept, "a chunk keeps at most max_kept");
      for (uint32_t e = begin; e < end; ++e) {
        Must(values.index[e] < segment.chunk_length, "an index is in its chunk");
        Must(e == begin || values.index[e - 1] < values.index[e], "indices ascend");
        Must(values.value[e] != 0, "a value is not zero");
      }
    }
  }
  Must(EncodePayload(shape, values) == input, "an accepted payload is canonical");
}

std::vector<std::string> PayloadSeeds() {
  std::vector<std::string> seeds;
  for (size_t bits = 0; bits < std::size(kValueBits); ++bits) {
    // Three chunks of 3970 places, at most 4 kept, of which one, or every, chunk keeps fewer; and a segment that keeps nothing.
    const std::string prefix = {static_cast<char>(bits), 2, 3, 63, 4, 1, 9, 9};
    absl::string_view rest = prefix;
    const PayloadShape shape = TakeShape(rest);
    const int32_t value = kValueBits[bits] == 32 ? 0x3f800000 : 1;
    SparseValues values;
    values.scales = {0.25f, 0.0f};
    values.chunk_begin = {0, 4, 5, 9, 9};
    values.index = {0, 1, 2000, 3969, 17, 5, 6, 7, 8};
    values.value.assign(9, value);
    seeds.push_back(prefix + EncodePayload(shape, values));
    values.chunk_begin = {0, 4, 8, 12, 12};
    values.index = {0, 1, 2000, 3969, 17, 18, 19, 20, 5, 6, 7, 8};
    values.value.assign(12, value);
    seeds.push_back(prefix + EncodePayload(shape, values));
  }
  return seeds;
}

void RunCommit(absl::string_view input) {
  const absl::StatusOr<Commit> commit = DecodeCommit(input);
  if (commit.ok()) {
    Must(EncodeCommit(*commit) == input, "an accepted commit record is canonical");
  }
}

std::vector<std::string> CommitSeeds() {
  return {EncodeCommit({1, 0.5f, 3, "payload"}), EncodeCommit({1u << 20, 0.0f, 0, ""})};
}

// Snapshot: the number of slots, then the snapshot without its checksum (no fuzzer finds a SHA-256).

Layout SmallLayout() {
  return *Layout::Create({{"a", {3, 2}}, {"b", {}}, {"c", {0}}});
}

void RunSnapshot(absl::string_view input) {
  static const Layout& layout = *new Layout(SmallLayout());
  const int slots = TakeByte(input) % 3;
  Must(!DecodeSnapshot(input, layout, slots).ok(), "bytes without their checksum are refused");
  std::string bytes(input);
  bytes += DigestBytes(Sha256(input));
  const absl::StatusOr<ReplicaState> state = DecodeSnapshot(bytes, layout, slots);
  if (!state.ok()) {
    return;
  }
  Must(state->theta.size() == 7 && state->slots.size() == static_cast<size_t>(slots), "an accepted snapshot fits the layout");
  Must(EncodeSnapshot(layout, *state) == bytes, "an accepted snapshot is canonical");
}

std::vector<std::string> SnapshotSeeds() {
  std::vector<std::string> seeds;
  for (char slots = 0; slots < 3; ++slots) {
    ReplicaState state;
    state.round = 9;
    state.theta = {1, 2, 3, 4, 5, 6, 7};
    state.slots.assign(slots, state.theta);
    const std::string bytes = EncodeSnapshot(SmallLayout(), state);
    seeds.push_back(slots + bytes.substr(0, bytes.size() - 32));
  }
  return seeds;
}

// Update and state: a byte for the run's options, then what a worker sends or what a disk returns.

constexpr int kModeCount = static_cast<int>(kModes.size());
constexpr int kVariants = 4;

// One run of each mode and variant: options, layout, and a worker's and the coordinator's half.
struct Run {
  OptimizerOptions options;
  Layout layout;
  std::unique_ptr<Aggregator> aggregator;
  std::unique_ptr<Aggregator> branch;  // makes no commits, so that it has partial sums
  std::unique_ptr<UpdateEncoder> encoder;
};

Run MakeRun(int number) {
  Run run;
  run.options = Defaults(static_cast<Mode>(number % kModeCount));
  run.options.k = 300;
  switch (number / kModeCount) {
    case 0:
      run.layout = *Layout::Create({{"w", {20, 30}}, {"b", {20}}, {"frozen", {5}, true}, {"scalar", {}}, {"empty", {0, 3}}});
      break;
    case 1:
      run.layout = *Layout::Create({{"w", {97}}, {"conv", {4, 3, 3, 3}}});
      run.options.value_bits = 8;
      run.options.commit_k = 0;
      run.options.domain = Domain::kIdentity;
      break;
    case 2:
      run.layout = *Layout::Create({{"w", {30, 20}}, {"b", {30}}});
      run.options.weighting = Weighting::kSamples;
      if (!Validate(run.options).ok()) {
        run.options.weighting = Weighting::kUniform;  // of a mode that has no other
      }
      break;
    default:
      run.layout = *Layout::Create({{"w", {70, 65}}});
      run.options.value_bits = 4;
      run.options.normalize = !run.options.normalize;
      run.options.rule = run.options.rule == Rule::kSign ? Rule::kScaled : Rule::kSign;
      break;
  }
  return run;
}

// `number` chooses mode and variant. The runs live as long as the program: their layouts must stay where they are.
Run& RunOf(uint8_t number) {
  static std::array<std::unique_ptr<Run>, kModeCount* kVariants>& runs = *new std::array<std::unique_ptr<Run>, kModeCount * kVariants>();
  std::unique_ptr<Run>& run = runs[number % runs.size()];
  if (run == nullptr) {
    run = std::make_unique<Run>(MakeRun(static_cast<int>(number % runs.size())));
    run->aggregator = *MakeAggregator(run->options, run->layout);
    run->branch = *MakeAggregator(run->options, run->layout);
    run->encoder = *MakeUpdateEncoder(run->options, run->layout);
  }
  return *run;
}

void RunUpdate(absl::string_view input) {
  Run& run = RunOf(TakeByte(input));
  const bool accepted = run.aggregator->Check(input).ok();
  Must(run.aggregator->BeginRound({1, 0.01f, 1}, 2).ok(), "a round opens");
  const uint32_t weight = run.options.weighting == Weighting::kSamples ? 1u << (input.size() % 25) : kMaxWeight;
  Must(run.aggregator->Add(input, weight).ok() == accepted, "Add accepts what Check accepts");
  if (accepted) {
    Must(input.size() <= MaxPayloadBytes(run.options, run.layout).update, "an accepted update is within the bound");
  }
  const absl::StatusOr<Commit> commit = run.aggregator->Finish();
  Must(commit.ok() && commit->included == (accepted ? 1 : 0), "the round ends with what was added");
  Must(DecodeCommit(EncodeCommit(*commit)).ok(), "the commit is a commit");
  ReplicaState state = *InitialState(run.options, run.layout, std::vector<float>(run.layout.size(), 0.5f));
  Must(Apply(run.options, run.layout, *commit, state).ok(), "the commit applies");
}

// What a replica reads off the log, not from an aggregator.
void RunApply(absl::string_view input) {
  Run& run = RunOf(TakeByte(input));
  const std::vector<float> theta(run.layout.size(), 0.5f);
  ReplicaState state = *InitialState(run.options, run.layout, theta);
  Commit commit;
  commit.round = 1;
  commit.learning_rate = 0.01f;
  commit.included = 1;
  commit.payload = std::string(input);
  const bool applied = Apply(run.options, run.layout, commit, state).ok();
  Must(state.round == (applied ? 1 : 0), "the round counts what was applied");
  if (!applied) {
    Must(state.theta == theta, "a refused commit leaves the state");
  }
}

// Restoring may succeed with what was saved alone.
void RunState(absl::string_view input) {
  Run& run = RunOf(TakeByte(input));
  if (run.encoder->RestoreState(input).ok()) {
    Must(run.encoder->SaveState() == input, "an accepted encoder state is canonical");
  }
  if (run.aggregator->RestoreState(input).ok()) {
    Must(run.aggregator->SaveState() == input, "an accepted aggregator state is canonical");
  }
}

constexpr RoundParameters kPartialRound = {1, 0.01f, 1};
constexpr uint32_t kPartialMembers = 3;

// What a relay sends, without its checksum (which no fuzzer would find).
void RunPartial(absl::string_view input) {
  Run& run = RunOf(TakeByte(input));
  std::string partial(input);
  AppendLittleEndian(Crc32c(input), partial);
  Must(run.branch->BeginRound(kPartialRound, kPartialMembers).ok(), "a round opens");
  const bool accepted = run.branch->MergePartial(partial).ok();
  const std::string merged = *run.branch->ExportPartial();
  if (accepted) {
    Must(merged == partial, "an accepted partial sum is canonical");
    std::unique_ptr<Aggregator> root = *MakeAggregator(run.options, run.layout);
    Must(root->BeginRound(kPartialRound, kPartialMembers).ok() && root->MergePartial(partial).ok(), "it is accepted again");
    const absl::StatusOr<Commit> commit = root->Finish();
    ReplicaState state = *InitialState(run.options, run.layout, std::vector<float>(run.layout.size(), 0.5f));
    Must(commit.ok() && Apply(run.options, run.layout, *commit, state).ok(), "its commit applies");
  } else {
    Must(run.branch->BeginRound(kPartialRound, kPartialMembers).ok() && merged == *run.branch->ExportPartial(),
         "a refused partial sum leaves the sum");
  }
}

std::vector<float> SomeDirection(int64_t size) {
  std::vector<float> direction(size);
  for (int64_t i = 0; i < size; ++i) {
    direction[i] = static_cast<float>((i * 7919) % 1009 - 500) / 1024.0f;
  }
  return direction;
}

// For each run: the first byte that chooses it, and what `make` gives for it.
template <typename Make>
std::vector<std::string> SeedsOfRuns(const Make& make) {
  std::vector<std::string> seeds;
  for (int number = 0; number < kModeCount * kVariants; ++number) {
    Run run = MakeRun(number);
    const std::string first(1, static_cast<char>(number));
    for (const std::string& bytes : make(run)) {
      seeds.push_back(first + bytes);
    }
  }
  return seeds;
}

std::vector<std::string> UpdateSeeds() {
  return SeedsOfRuns([](Run& run) -> std::vector<std::string> {
    std::unique_ptr<UpdateEncoder> encoder = *MakeUpdateEncoder(run.options, run.layout);
    return {*encoder->Encode({1, 0.01f, 1}, SomeDirection(run.layout.size()))};
  });
}

std::vector<std::string> ApplySeeds() {
  return SeedsOfRuns([](Run& run) -> std::vector<std::string> {
    std::unique_ptr<UpdateEncoder> encoder = *MakeUpdateEncoder(run.options, run.layout);
    std::unique_ptr<Aggregator> aggregator = *MakeAggregator(run.options, run.layout);
    Must(aggregator->BeginRound({1, 0.01f, 1}, 1).ok(), "a round opens");
    Must(aggregator->Add(*encoder->Encode({1, 0.01f, 1}, SomeDirection(run.layout.size()))).ok(), "an update is accepted");
    return {aggregator->Finish()->payload};
  });
}

std::vector<std::string> PartialSeeds() {
  return SeedsOfRuns([](Run& run) -> std::vector<std::string> {
    std::vector<std::string> seeds;
    std::unique_ptr<Aggregator> aggregator = *MakeAggregator(run.options, run.layout);
    for (int updates : {0, 1, 3}) {
      Must(aggregator->BeginRound(kPartialRound, kPartialMembers).ok(), "a round opens");
      for (int i = 0; i < updates; ++i) {
        std::unique_ptr<UpdateEncoder> encoder = *MakeUpdateEncoder(run.options, run.layout);
        const std::string update = *encoder->Encode(kPartialRound, SomeDirection(run.layout.size()));
        Must(aggregator->Add(update).ok(), "an update is accepted");
      }
      const std::string partial = *aggregator->ExportPartial();
      seeds.push_back(partial.substr(0, partial.size() - sizeof(uint32_t)));
    }
    return seeds;
  });
}

std::vector<std::string> StateSeeds() {
  return SeedsOfRuns([](Run& run) -> std::vector<std::string> {
    std::unique_ptr<UpdateEncoder> encoder = *MakeUpdateEncoder(run.options, run.layout);
    const std::string settled = encoder->SaveState();
    Must(encoder->Encode({1, 0.01f, 1}, SomeDirection(run.layout.size())).ok(), "a direction is encoded");
    return {settled, encoder->SaveState(), (*MakeAggregator(run.options, run.layout))->SaveState()};
  });
}

// A model file, as an operator gives it for initial weights.
void RunSafetensors(absl::string_view input) {
  const absl::StatusOr<SafetensorsFile> file = DecodeSafetensors(input);
  if (!file.ok()) {
    Must(absl::IsDataLoss(file.status()), "what cannot be read is damaged");
    return;
  }
  std::vector<NamedTensor> tensors;
  uint64_t values = 0;
  for (const SafetensorsFile::Entry& entry : file->tensors) {
    tensors.push_back({entry.name, entry.shape, entry.values});
    values += entry.values.size();
  }
  Must(values * sizeof(uint16_t) <= input.size(), "no more values than halves fit into the bytes");
  const absl::StatusOr<std::string> encoded = EncodeSafetensors(tensors, file->metadata);
  Must(encoded.ok(), "what was read is written");
  const absl::StatusOr<SafetensorsFile> again = DecodeSafetensors(*encoded);
  Must(again.ok() && again->tensors.size() == file->tensors.size() && again->metadata == file->metadata, "and read again");
}

std::vector<std::string> SafetensorsSeeds() {
  const std::vector<float> values = {1, 2, 3, 4, 5, 6};
  return {*EncodeSafetensors({{"a", {2, 2}, absl::MakeSpan(values).first(4)}, {"b", {2}, absl::MakeSpan(values).last(2)}}, {}),
          *EncodeSafetensors({{"a", {0}, {}}}, {{"round", "12"}, {"note", "\"quoted\" \xc3\xbc"}})};
}

}  // namespace

absl::Span<const Target> Targets() {
  static constexpr Target kTargets[] = {
      {"payload", RunPayload, PayloadSeeds},    {"commit", RunCommit, CommitSeeds},
      {"snapshot", RunSnapshot, SnapshotSeeds}, {"update", RunUpdate, UpdateSeeds},
      {"apply", RunApply, ApplySeeds},          {"state", RunState, StateSeeds},
      {"partial", RunPartial, PartialSeeds},    {"safetensors", RunSafetensors, SafetensorsSeeds},
  };
  return kTargets;
}

}  // namespace tributary::fuzz
