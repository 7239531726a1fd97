// Members that keep their rounds waiting and answer nothing, and for how long the next rounds do without them.
#ifndef TRIBUTARY_COORDINATOR_RUN_BENCH_H_
#define TRIBUTARY_COORDINATOR_RUN_BENCH_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace tributary::coordinator {

// Not thread-safe. Nothing of it is durable: after a restart of the coordinator every site begins with a clean slate, which costs at most
// kMisses rounds that last to their deadline.
class Bench {
 public:
  // A site that was waited for in vain in so many rounds in a row, of those that it was a member of, is benched.
  static constexpr int kMisses = 3;
  // For 1 round, then, each time that it misses the round in which it is tried again, for twice as many, up to:
  static constexpr uint64_t kLongest = 32;

  struct Benched {
    std::string site;
    int misses = 0;      // in a row
    uint64_t until = 0;  // the round in which it may be a member again
  };

  // Round `round` was closed. `missed` were waited for to the end, `answered` were not: whatever the answer was, nobody waited for it any
  // more. Returns who is benched now and was not before.
  std::vector<Benched> RoundClosed(uint64_t round, const std::vector<std::string>& missed, const std::vector<std::string>& answered);

  // Null: round `round` may have it as a member.
  const Benched* Find(const std::string& site, uint64_t round) const;

  // Those of `ready` (ascending) that may be members of round `round`; and if they are fewer than `least`, of the others as many as are
  // missing, whose time is up first. Ascending.
  std::vector<std::string> Allow(const std::vector<std::string>& ready, uint64_t round, size_t least) const;

 private:
  struct Record {
    Benched benched;
    uint64_t rounds = 0;  // of its newest time on the bench; 0: it has had none
  };
  std::map<std::string, Record> records_;  // by site; of those that have missed the newest round that they were a member of
};

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_RUN_BENCH_H_
