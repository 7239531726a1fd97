// libFuzzer's entry point for the target named by TRIBUTARY_FUZZ_TARGET. With the environment variable TRIBUTARY_FUZZ_SEEDS set to a
// folder, the target's seeds, and the inputs that are kept, are written there and the program ends.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

#include "tests/fuzz/corpus.h"
#include "tests/fuzz/targets.h"

namespace {

const tributary::fuzz::Target& TheTarget() {
  for (const tributary::fuzz::Target& target : tributary::fuzz::Targets()) {
    if (target.name == TRIBUTARY_FUZZ_TARGET) {
      return target;
    }
  }
  std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  const char* folder = std::getenv("TRIBUTARY_FUZZ_SEEDS");
  if (folder == nullptr) {
    return 0;
  }
  int number = 0;
  std::vector<std::string> seeds = TheTarget().seeds();
  const std::vector<std::string> kept = tributary::fuzz::CorpusOf(TheTarget().name);
  seeds.insert(seeds.end(), kept.begin(), kept.end());
  for (const std::string& seed : seeds) {
    std::ofstream(std::string(folder) + "/seed-" + std::to_string(number++), std::ios::binary) << seed;
  }
  std::exit(0);
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const tributary::fuzz::Target& target = TheTarget();
  target.run({reinterpret_cast<const char*>(data), size});
  return 0;
}
