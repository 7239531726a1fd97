// One round of three sites on the update algebra alone: prints the hash of the state that it leads to.
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/checksum.h"
#include "common/status_macros.h"
#include "optim/aggregator.h"
#include "optim/apply.h"
#include "optim/encoder.h"
#include "optim/layout.h"
#include "optim/options.h"
#include "optim/replica_state.h"
#include "optim/state_hash.h"

namespace {

using namespace tributary;

constexpr int kSites = 3;

// In [-1, 1), the same on every machine.
std::vector<float> Direction(int64_t size, uint32_t seed) {
  std::vector<float> direction(size);
  for (float& value : direction) {
    seed = seed * 1664525 + 1013904223;
    value = static_cast<float>(static_cast<int32_t>(seed)) * 0x1p-31f;
  }
  return direction;
}

absl::StatusOr<std::string> OneRound() {
  optim::OptimizerOptions options = optim::Defaults(optim::Mode::kDistro);
  options.rounds = 10;
  TRIBUTARY_ASSIGN_OR_RETURN(const optim::Layout layout, optim::Layout::Create({{"weight", {128, 96}}, {"bias", {96}}}));
  const optim::RoundParameters parameters = optim::ParametersForRound(options, 1);

  TRIBUTARY_ASSIGN_OR_RETURN(const std::unique_ptr<optim::Aggregator> aggregator, optim::MakeAggregator(options, layout));
  TRIBUTARY_RETURN_IF_ERROR(aggregator->BeginRound(parameters, kSites));
  for (uint32_t site = 0; site < kSites; ++site) {
    TRIBUTARY_ASSIGN_OR_RETURN(const std::unique_ptr<optim::UpdateEncoder> encoder, optim::MakeUpdateEncoder(options, layout));
    TRIBUTARY_ASSIGN_OR_RETURN(const std::string update, encoder->Encode(parameters, Direction(layout.size(), site)));
    TRIBUTARY_RETURN_IF_ERROR(aggregator->Add(update));
  }
  TRIBUTARY_ASSIGN_OR_RETURN(const optim::Commit commit, aggregator->Finish());

  TRIBUTARY_ASSIGN_OR_RETURN(optim::ReplicaState state, optim::InitialState(options, layout, std::vector<float>(layout.size())));
  TRIBUTARY_RETURN_IF_ERROR(optim::Apply(options, layout, commit, state));
  return absl::StrCat("state ", state.round, " ", DigestHex(optim::StateHash(layout, state)));
}

}  // namespace

int main() {
  const absl::StatusOr<std::string> state = OneRound();
  if (!state.ok()) {
    std::fprintf(stderr, "%s\n", state.status().ToString().c_str());
    return 1;
  }
  std::printf("%s\n", state->c_str());
  return 0;
}
