// The fuzz targets without a fuzzer: their seeds and the inputs that are kept, mutations of these, and noise, the same at every run and
// with every compiler.
#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/fuzz/corpus.h"
#include "tests/fuzz/targets.h"

namespace tributary::fuzz {
namespace {

using Rng = std::mt19937_64;

std::string Noise(Rng& rng) {
  std::string bytes(rng() % 64, '\0');
  for (char& byte : bytes) {
    byte = static_cast<char>(rng());
  }
  return bytes;
}

void FlipBit(std::string& bytes, Rng& rng) {
  if (bytes.empty()) {
    return;
  }
  char& byte = bytes[rng() % bytes.size()];
  byte = static_cast<char>(byte ^ (1 << (rng() % 8)));
}

void SetByte(std::string& bytes, Rng& rng) {
  constexpr uint8_t kTelling[] = {0x00, 0x01, 0x7f, 0x80, 0xff};
  if (bytes.empty()) {
    return;
  }
  bytes[rng() % bytes.size()] = static_cast<char>(rng() % 2 == 0 ? kTelling[rng() % std::size(kTelling)] : rng());
}

void Truncate(std::string& bytes, Rng& rng) {
  bytes.resize(rng() % (bytes.size() + 1));
}

void Insert(std::string& bytes, Rng& rng) {
  bytes.insert(rng() % (bytes.size() + 1), Noise(rng));
}

void Remove(std::string& bytes, Rng& rng) {
  const size_t begin = rng() % (bytes.size() + 1);
  bytes.erase(begin, rng() % 9);
}

void Mutate(std::string& bytes, const std::vector<std::string>& seeds, Rng& rng) {
  constexpr void (*kMutations[])(std::string&, Rng&) = {FlipBit, FlipBit, SetByte, SetByte, Truncate, Insert, Remove};
  for (uint64_t i = 1 + rng() % 4; i > 0; --i) {
    kMutations[rng() % std::size(kMutations)](bytes, rng);
  }
  if (rng() % 8 == 0) {
    const std::string& other = seeds[rng() % seeds.size()];
    bytes += other.substr(rng() % (other.size() + 1));
  }
}

class FuzzTest : public testing::TestWithParam<Target> {};

TEST_P(FuzzTest, NoInputBreaksWhatMustHold) {
  const Target& target = GetParam();
  std::vector<std::string> seeds = target.seeds();
  ASSERT_FALSE(seeds.empty());
  const std::vector<std::string> kept = CorpusOf(target.name);
  seeds.insert(seeds.end(), kept.begin(), kept.end());
  for (const std::string& seed : seeds) {
    target.run(seed);
  }
  Rng rng(1);
  target.run("");
  for (int i = 0; i < 20000; ++i) {
    std::string input = i % 10 == 0 ? Noise(rng) : seeds[rng() % seeds.size()];
    if (i % 10 != 0) {
      Mutate(input, seeds, rng);
    }
    target.run(input);
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, FuzzTest, testing::ValuesIn(Targets().begin(), Targets().end()),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace tributary::fuzz
