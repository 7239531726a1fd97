// What is fuzzed: every decoder of bytes from the network or the disk in optim/ (targets.cc), those of the service
// (service_targets.cc), and what a site reads (worker_targets.cc). One entry point each, run by libFuzzer (run.sh) and, with made-up and
// mutated inputs, by an ordinary test (fuzz_test.cc).
#ifndef TRIBUTARY_TESTS_FUZZ_TARGETS_H_
#define TRIBUTARY_TESTS_FUZZ_TARGETS_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace tributary::fuzz {

struct Target {
  absl::string_view name;
  // Feeds `input` to the decoder; aborts with a message if what must hold does not. Any input is fine.
  void (*run)(absl::string_view input);
  // Inputs that decode, to start from.
  std::vector<std::string> (*seeds)();
};

// Of the library that is linked.
absl::Span<const Target> Targets();

}  // namespace tributary::fuzz

#endif  // TRIBUTARY_TESTS_FUZZ_TARGETS_H_
