// What hostile sites cost: the accuracy of a small federation by mode, rule of aggregation and attack. Prints a table in Markdown; of
// `agreement` in parentheses the shares of honest and of hostile updates that were left out.
//
//   robustness DATA.csv [--seeds N] [--hostile F] [--mode NAME] [--rule NAME] [--rounds N] [--rate FACTOR] [--skew ALPHA]
//   zcat .../sklearn/datasets/data/digits.csv.gz > digits.csv        (Debian's python3-sklearn)
//
// docs/explanation/robustness.md has what came of it.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <iterator>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/files.h"
#include "optim/modes.h"
#include "tests/support/toy_federation.h"

namespace tributary {
namespace {

using optim::Aggregation;
using optim::Mode;
using optim::OptimizerOptions;

// As run.yaml would have them, at learning rates that suit the task.
OptimizerOptions OptionsOf(Mode mode, uint64_t rounds) {
  OptimizerOptions options = optim::Defaults(mode);
  options.rounds = rounds;
  options.weight_decay = 0;
  switch (mode) {
    case Mode::kAllReduce:
      options.learning_rate.peak = 5e-3;
      break;
    case Mode::kDemo:
      options.learning_rate.peak = 2e-3;
      options.k = 64;
      options.beta = 0.95f;
      break;
    case Mode::kDistro:
      options.learning_rate.peak = 2e-3;
      options.k = 64;
      options.commit_k = 64;
      options.value_bits = 2;
      options.beta = 0.95f;
      break;
    case Mode::kLocal:
      options.learning_rate.peak = 5e-3;
      options.k = 128;
      options.commit_k = 128;
      break;
    case Mode::kFedAvg:
    case Mode::kDiLoCo:
      options.learning_rate.peak = 5e-3;
      options.local_steps = 5;
      break;
    case Mode::kSignSgd:
      options.learning_rate.peak = 2e-3;
      break;
  }
  return options;
}

struct Rule {
  const char* name;
  Aggregation aggregation;
  float norm_bound;
};

constexpr Rule kRules[] = {
    {"mean, unbounded", Aggregation::kMean, 0},       {"mean", Aggregation::kMean, 3},
    {"mean, `norm_bound: 1`", Aggregation::kMean, 1}, {"`sign_vote`", Aggregation::kSignVote, 3},
    {"`trimmed_mean`", Aggregation::kTrimmedMean, 3}, {"`median`", Aggregation::kMedian, 3},
    {"`agreement`", Aggregation::kAgreement, 3},
};

struct Arguments {
  std::string data;
  int seeds = 3;
  int hostile = 3;
  uint64_t rounds = 120;
  double skew = 0.5;
  double rate = 1;
  std::string mode;
  std::string attack;
  std::string rule;
};

void PrintRow(const Arguments& arguments, const Table& table, Mode mode, const Rule& rule) {
  OptimizerOptions options = OptionsOf(mode, arguments.rounds);
  options.learning_rate.peak *= arguments.rate;
  options.aggregation = rule.aggregation;
  options.norm_bound = rule.norm_bound;
  if (!optim::Validate(options).ok()) {
    return;
  }
  const bool sparse = optim::TraitsOf(mode).keys.Has(optim::Key::kK);
  std::printf("| `%s` | %s |", std::string(optim::ModeName(mode)).c_str(), rule.name);
  for (const Attack attack : kAttacks) {
    if ((attack == Attack::kLoneSupport && !sparse) || (!arguments.attack.empty() && arguments.attack != AttackName(attack))) {
      std::printf(" - |");
      continue;
    }
    double sum = 0;
    LeftOut left_out;
    for (int seed = 1; seed <= arguments.seeds; ++seed) {
      ToyFederation federation;
      federation.seed = static_cast<uint64_t>(seed);
      federation.hostile = arguments.hostile;
      federation.rounds = arguments.rounds;
      federation.skew = arguments.skew;
      sum += Accuracy(federation, options, attack, table, &left_out);
    }
    std::printf(" %.1f", 100 * sum / arguments.seeds);
    if (rule.aggregation == Aggregation::kAgreement) {
      std::printf(" (%.1f, %.1f)", 100 * left_out.honest / arguments.seeds, 100 * left_out.hostile / arguments.seeds);
    }
    std::printf(" |");
    std::fflush(stdout);
  }
  std::printf("\n");
}

int Run(int argc, char** argv) {
  Arguments arguments;
  CLI::App app("Accuracy by mode, rule of aggregation and attack");
  app.add_option("DATA", arguments.data, "numbers, the class last")->required();
  app.add_option("--seeds", arguments.seeds)->capture_default_str();
  app.add_option("--hostile", arguments.hostile, "of 16 sites")->capture_default_str();
  app.add_option("--rounds", arguments.rounds)->capture_default_str();
  app.add_option("--mode", arguments.mode, "only this one");
  app.add_option("--attack", arguments.attack, "only this one");
  app.add_option("--rule", arguments.rule, "only this one, as the table names it");
  app.add_option("--skew", arguments.skew, "how alike the sites' data are: Dirichlet's parameter")->capture_default_str();
  app.add_option("--rate", arguments.rate, "factor of the learning rates")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  const absl::StatusOr<std::string> csv = ReadFile(arguments.data, 64 << 20);
  const absl::StatusOr<Table> table = csv.ok() ? ReadTable(*csv) : csv.status();
  if (!table.ok()) {
    std::fprintf(stderr, "%s\n", table.status().ToString().c_str());
    return 1;
  }
  std::string head = "| mode | rule |";
  std::string line = "|---|---|";
  for (const Attack attack : kAttacks) {
    absl::StrAppend(&head, " ", AttackName(attack), " |");
    absl::StrAppend(&line, "---|");
  }
  std::printf("%s\n%s\n", head.c_str(), line.c_str());
  for (const optim::ModeTraits& mode : optim::kModes) {
    if (!arguments.mode.empty() && arguments.mode != mode.name) {
      continue;
    }
    for (const Rule& rule : kRules) {
      if (arguments.rule.empty() || arguments.rule == rule.name) {
        PrintRow(arguments, *table, mode.mode, rule);
      }
    }
  }
  return 0;
}

}  // namespace
}  // namespace tributary

int main(int argc, char** argv) {
  return tributary::Run(argc, argv);
}
