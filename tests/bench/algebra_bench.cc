// How fast the update algebra is, against what memcpy of the same traffic takes on the same thread, and how small and equal its results
// are.
//
//   algebra_bench            Google Benchmark, one entry for each part; counters: params_per_s, memcpy_fraction
//   algebra_bench --facts    one JSON line: what is asserted about sizes, memory and equality, measured
//
// tests/bench/algebra.sh runs both and merges them with the Python yardstick.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "benchmark/benchmark.h"
#include "nlohmann/json.hpp"
#include "optim/aggregator.h"
#include "optim/apply.h"
#include "optim/chunk_plan.h"
#include "optim/dct.h"
#include "optim/encoder.h"
#include "optim/quantise.h"
#include "optim/replica_state.h"
#include "optim/residual.h"
#include "optim/sparse_chunk.h"
#include "optim/sparse_modes.h"
#include "optim/state_hash.h"
#include "tests/optim/random_updates.h"

namespace tributary::optim {
namespace {

constexpr int64_t kRows = 6144;
constexpr int64_t kCols = 4096;
constexpr int64_t kParameters = kRows * kCols;
constexpr uint32_t kKept = 8;
const RoundParameters kRound{.round = 1, .learning_rate = 0.01f, .local_steps = 1};

OptimizerOptions Options() {
  OptimizerOptions options = Defaults(Mode::kDistro);
  options.k = kKept;
  options.commit_k = kKept;
  return options;
}

const Layout& BigLayout() {
  static const Layout& layout = *new Layout(*Layout::Create({{.name = "w", .shape = {kRows, kCols}}}));
  return layout;
}

const ChunkPlan& Plan() {
  static const ChunkPlan& plan = *new ChunkPlan(Options(), BigLayout());
  return plan;
}

const std::vector<float>& Gradient() {
  static const std::vector<float>& gradient = *new std::vector<float>([] {
    Dice dice(1);
    return RandomFloats(dice, kParameters);
  }());
  return gradient;
}

// A worker's real update.
const std::string& Update() {
  static const std::string& update = *new std::string(*MakeSparseEncoder(Options(), BigLayout())->Encode(kRound, Gradient()));
  return update;
}

SparseValues DecodedUpdate() {
  SparseValues values;
  (void)DecodePayload(Plan().update_shape(), Update(), values);
  return values;
}

// CPU time of this thread: other programs on the machine do not count.
double Seconds() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

// Seconds that memcpy takes for `traffic` bytes read and written, half each; the best of several.
double MemcpySeconds(double traffic) {
  static const double seconds_per_byte = [] {
    std::vector<float> to(kParameters, 1.0f);
    double best = 1e9;
    for (int i = 0; i < 15; ++i) {
      const double start = Seconds();
      std::memcpy(to.data(), Gradient().data(), kParameters * sizeof(float));
      benchmark::DoNotOptimize(to.data());
      best = std::min(best, Seconds() - start);
    }
    return best / (2.0 * kParameters * sizeof(float));
  }();
  return seconds_per_byte * traffic;
}

// Bytes a parameter that a part cannot avoid to move.
constexpr double kReadFloat = 4;
constexpr double kUpdateFloat = 8;

void Report(benchmark::State& state, double traffic_per_parameter) {
  using benchmark::Counter;
  const double work = static_cast<double>(state.iterations()) * kParameters;
  state.counters["params_per_s"] = Counter(work, Counter::kIsRate);
  if (traffic_per_parameter > 0) {
    const double bound = MemcpySeconds(traffic_per_parameter * kParameters) * static_cast<double>(state.iterations());
    state.counters["memcpy_fraction"] = Counter(bound, Counter::kIsRate);  // bound seconds a second of work
  }
}

void BM_ResidualUpdate(benchmark::State& state) {
  std::vector<float> residual(kParameters, 0.0f);
  const Segment& segment = Plan().segments()[0];
  for (auto _ : state) {
    ForEachChunk(Plan(), 1, [&](size_t, int64_t chunk, ChunkWorkspace& work) {
      segment.ForEachPatch(chunk,
                           [&](const Patch& patch) { AddToResidual(patch, 0.999f, 1.0f, Gradient().data(), residual.data(), work.tile); });
      Prefetch(segment, chunk + 1, Gradient().data());
      Prefetch(segment, chunk + 1, residual.data());
    });
  }
  Report(state, kReadFloat + kUpdateFloat);
}
BENCHMARK(BM_ResidualUpdate)->Unit(benchmark::kMillisecond);

// Transform and selection of a residual that is there.
void BM_TransformAndSelect(benchmark::State& state) {
  const Segment& segment = Plan().segments()[0];
  for (auto _ : state) {
    ForEachChunk(Plan(), 1, [&](size_t, int64_t chunk, ChunkWorkspace& work) {
      segment.ForEachPatch(chunk, [&](const Patch& patch) {
        for (int64_t row = 0; row < patch.rows; ++row) {
          std::memcpy(work.tile.at.data() + row * kTileEdge, Gradient().data() + patch.offset + row * patch.stride,
                      kTileEdge * sizeof(float));
        }
      });
      Prefetch(segment, chunk + 1, Gradient().data());
      ForwardDct(segment.rows, segment.cols, work.tile, work.dct, work.spectrum);
      SelectLargest(work.spectrum.at, kKept, segment.cols, work.select, work.selected);
      benchmark::DoNotOptimize(work.selected.data());
    });
  }
  Report(state, kReadFloat);
}
BENCHMARK(BM_TransformAndSelect)->Unit(benchmark::kMillisecond);

void BM_Pack(benchmark::State& state) {
  const SparseValues values = DecodedUpdate();
  for (auto _ : state) {
    benchmark::DoNotOptimize(EncodePayload(Plan().update_shape(), values));
  }
  Report(state, 0);
}
BENCHMARK(BM_Pack)->Unit(benchmark::kMillisecond);

void BM_OwnDecode(benchmark::State& state) {
  const SparseValues values = DecodedUpdate();
  std::vector<float> residual(kParameters, 0.0f);
  const Segment& segment = Plan().segments()[0];
  for (auto _ : state) {
    ForEachChunk(Plan(), 1, [&](size_t, int64_t chunk, ChunkWorkspace& work) {
      Prefetch(segment, chunk + 1, residual.data());
      InverseDct(segment.rows, segment.cols, IndexOf(values, chunk), ValueOf(values, chunk), work.dct, work.tile);
      segment.ForEachPatch(chunk, [&](const Patch& patch) { SubtractFromResidual(patch, values.scales[0], work.tile, residual.data()); });
    });
  }
  Report(state, kUpdateFloat);
}
BENCHMARK(BM_OwnDecode)->Unit(benchmark::kMillisecond);

// All that a worker does: norm and check of the gradient, residual update, transform, selection, quantisation, packing, and the subtraction
// after the receipt. Its traffic: the gradient once, the residual updated when encoding and when settling.
void BM_Step(benchmark::State& state) {
  const auto encoder = MakeSparseEncoder(Options(), BigLayout(), static_cast<int>(state.range(0)));
  (void)encoder->Encode(kRound, Gradient());
  encoder->Settle(UpdateFate::kIncluded);
  for (auto _ : state) {
    benchmark::DoNotOptimize(encoder->Encode(kRound, Gradient()));
    encoder->Settle(UpdateFate::kIncluded);
  }
  Report(state, kReadFloat + 2 * kUpdateFloat);
}
BENCHMARK(BM_Step)->Arg(1)->Unit(benchmark::kMillisecond);
BENCHMARK(BM_Step)->Arg(2)->Unit(benchmark::kMillisecond)->UseRealTime();

void BM_ValidateAndAccumulate(benchmark::State& state) {
  auto aggregator = MakeResidualAggregator(Options(), BigLayout());
  int64_t added = kMaxWorkers;
  for (auto _ : state) {
    if (added++ == kMaxWorkers) {
      state.PauseTiming();
      aggregator = MakeResidualAggregator(Options(), BigLayout());
      (void)aggregator->BeginRound(kRound, kMaxWorkers);
      (void)aggregator->Add(Update());  // touches the pages of the sum
      added = 2;
      state.ResumeTiming();
    }
    if (!aggregator->Add(Update()).ok()) {
      state.SkipWithError("an update was refused");
    }
  }
  Report(state, 0);
}
BENCHMARK(BM_ValidateAndAccumulate)->Unit(benchmark::kMillisecond);

void BM_Apply(benchmark::State& state) {
  auto aggregator = MakeResidualAggregator(Options(), BigLayout());
  (void)aggregator->BeginRound(kRound, 1);
  (void)aggregator->Add(Update());
  Commit commit = *aggregator->Finish();
  aggregator.reset();
  ReplicaState replica = *InitialState(Options(), BigLayout(), Gradient());
  for (auto _ : state) {
    commit.round = replica.round + 1;
    if (!Apply(Options(), BigLayout(), commit, replica, static_cast<int>(state.range(0))).ok()) {
      state.SkipWithError("the commit was refused");
    }
  }
  Report(state, kUpdateFloat);
}
BENCHMARK(BM_Apply)->Arg(1)->Unit(benchmark::kMillisecond);
BENCHMARK(BM_Apply)->Arg(2)->Unit(benchmark::kMillisecond)->UseRealTime();

void BM_StateHash(benchmark::State& state) {
  const ReplicaState replica = *InitialState(Options(), BigLayout(), Gradient());
  for (auto _ : state) {
    benchmark::DoNotOptimize(StateHash(BigLayout(), replica));
  }
  Report(state, kReadFloat);
}
BENCHMARK(BM_StateHash)->Unit(benchmark::kMillisecond);

// A full update (k places of every chunk) for worker `seed`.
std::string FullUpdate(uint64_t seed) {
  Dice dice(seed);
  SparseValues values{.scales = {1.0f}, .chunk_begin = {0}, .index = {}, .value = {}};
  for (int64_t chunk = 0; chunk < Plan().chunks(); ++chunk) {
    std::vector<uint16_t> places;
    while (places.size() < kKept) {
      const auto place = static_cast<uint16_t>(dice.Roll(0, kChunkSize - 1));
      if (std::find(places.begin(), places.end(), place) == places.end()) {
        places.push_back(place);
      }
    }
    std::sort(places.begin(), places.end());
    for (const uint16_t place : places) {
      values.index.push_back(place);
      values.value.push_back(dice.Flip() ? 1 : -1);
    }
    values.chunk_begin.push_back(static_cast<uint32_t>(values.index.size()));
  }
  return EncodePayload(Plan().update_shape(), values);
}

// Bytes: the peak of this process.
double PeakMemory() {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    double kilobytes = 0;
    if (word == "VmHWM:" && status >> kilobytes) {
      return kilobytes * 1024;
    }
  }
  return 0;
}

// 64 updates validated and accumulated, and the commit, in a coordinator that holds the state and the aggregator. First of all facts:
// memory is measured by its peak.
nlohmann::json Commit64() {
  constexpr int kWorkers = 64;
  std::vector<std::string> updates;
  for (int i = 0; i < kWorkers; ++i) {
    updates.push_back(FullUpdate(i + 1));
  }
  const ReplicaState replica = *InitialState(Options(), BigLayout(), std::vector<float>(kParameters, 1.0f));
  auto aggregator = MakeResidualAggregator(Options(), BigLayout());
  double best = 1e9;
  size_t commit_bytes = 0;
  for (uint64_t round = 1; round <= 3; ++round) {
    const double start = Seconds();
    (void)aggregator->BeginRound({.round = round, .learning_rate = 0.01f}, kWorkers);
    for (const std::string& update : updates) {
      (void)aggregator->Add(update);
    }
    commit_bytes = aggregator->Finish()->payload.size();
    best = std::min(best, Seconds() - start);
  }
  const double rss_ratio = PeakMemory() / (kParameters * sizeof(float));
  // And of as many workers as there may be.
  (void)aggregator->BeginRound({.round = 4, .learning_rate = 0.01f}, kMaxWorkers);
  for (int64_t i = 0; i < kMaxWorkers; ++i) {
    (void)aggregator->Add(updates[i % kWorkers]);
  }
  (void)aggregator->Finish();
  benchmark::DoNotOptimize(replica.theta.data());
  return {{"commit_64_ms", best * 1e3},
          {"commit_64_rss_ratio", rss_ratio},
          {"commit_4096_rss_ratio", PeakMemory() / (kParameters * sizeof(float))},
          {"update_bytes", updates[0].size()},
          {"commit_bytes", commit_bytes}};
}

double LogBinomial(double n, double k) {
  return (std::lgamma(n + 1) - std::lgamma(k + 1) - std::lgamma(n - k + 1)) / std::log(2.0);
}

// Worst over k of (index bits) / log2 C(4096, k), on random supports.
double IndexBitsOverBound() {
  constexpr uint32_t kChunks = 2000;
  double worst = 0;
  for (uint32_t k = 1; k <= 64; ++k) {
    Dice dice(k);
    const PayloadShape shape{.segments = {{kChunks, static_cast<uint32_t>(kChunkSize), k}}, .value_bits = 1};
    SparseValues values{.scales = {1.0f}, .chunk_begin = {0}, .index = {}, .value = {}};
    for (uint32_t chunk = 0; chunk < kChunks; ++chunk) {
      std::vector<bool> taken(kChunkSize, false);
      for (uint32_t left = k; left > 0;) {
        const int64_t place = dice.Roll(0, kChunkSize - 1);
        if (taken[place]) {
          continue;
        }
        taken[place] = true;
        --left;
      }
      for (int64_t place = 0; place < kChunkSize; ++place) {
        if (!taken[place]) {
          continue;
        }
        values.index.push_back(static_cast<uint16_t>(place));
        values.value.push_back(1);
      }
      values.chunk_begin.push_back(static_cast<uint32_t>(values.index.size()));
    }
    const double bits = 8.0 * static_cast<double>(EncodePayload(shape, values).size()) - static_cast<double>(k) * kChunks;
    worst = std::max(worst, bits / (kChunks * LogBinomial(kChunkSize, k)));
  }
  return worst;
}

// Whether replicas on all instruction sets and 1 to 16 threads reach the same state from the same commits.
bool ReplicasEqual() {
  Dice dice(7);
  for (int round = 0; round < 20; ++round) {
    const Layout layout = RandomLayout(dice);
    const OptimizerOptions options = RandomOptions(dice);
    const ChunkPlan plan(options, layout);
    const Commit commit{.round = 1,
                        .learning_rate = 0.01f,
                        .included = 1,
                        .payload = EncodePayload(plan.commit_shape(), RandomValues(dice, plan.commit_shape()))};
    const std::vector<float> theta = RandomFloats(dice, layout.size());
    std::vector<Digest> hashes;
    for (const InstructionSet set : {InstructionSet::kBaseline, InstructionSet::kAvx2, InstructionSet::kAvx512}) {
      if (!HasInstructionSet(set)) {
        continue;
      }
      UseInstructionSet(set);
      for (int threads = 1; threads <= 16; ++threads) {
        ReplicaState state = *InitialState(options, layout, theta);
        if (!Apply(options, layout, commit, state, threads).ok()) {
          return false;
        }
        hashes.push_back(StateHash(layout, state));
      }
    }
    if (std::any_of(hashes.begin(), hashes.end(), [&](const Digest& hash) { return hash != hashes[0]; })) {
      return false;
    }
  }
  return true;
}

void PrintFacts() {
  nlohmann::json facts = Commit64();
  facts["index_bits_over_bound"] = IndexBitsOverBound();
  facts["replicas_equal"] = ReplicasEqual();
  std::printf("%s\n", facts.dump().c_str());
}

}  // namespace
}  // namespace tributary::optim

int main(int argc, char** argv) {
  if (argc == 2 && std::strcmp(argv[1], "--facts") == 0) {
    tributary::optim::PrintFacts();
    return 0;
  }
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) {
    return 2;
  }
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
