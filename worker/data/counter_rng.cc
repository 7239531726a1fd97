#include "worker/data/counter_rng.h"

#include "common/bytes.h"
#include "common/checksum.h"

namespace tributary::worker {

CounterRng::CounterRng(absl::string_view key) : state_(0) {
  const Digest digest = Sha256(key);
  ByteReader(AsBytes(digest)).Read(state_);
}

uint64_t CounterRng::Next() {
  state_ += 0x9e3779b97f4a7c15u;
  uint64_t z = state_;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

uint64_t CounterRng::Below(uint64_t bound) {
  return static_cast<uint64_t>((static_cast<unsigned __int128>(Next()) * bound) >> 64);
}

double CounterRng::Uniform() {
  return static_cast<double>(Next() >> 11) * 0x1p-53;
}

}  // namespace tributary::worker
