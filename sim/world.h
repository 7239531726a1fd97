// What a simulation stands on: its clock, its randomness, the queue of what happens next, and what is counted, traced and found wrong.
#ifndef TRIBUTARY_SIM_WORLD_H_
#define TRIBUTARY_SIM_WORLD_H_

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/clock.h"

namespace tributary::sim {

// splitmix64: all that a simulation leaves to chance comes from one of these.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t Next();
  // [0, bound); 0 for 0.
  uint64_t Below(uint64_t bound) { return bound == 0 ? 0 : Next() % bound; }
  // [0, 1).
  double Uniform() { return static_cast<double>(Next() >> 11) * 0x1p-53; }
  bool Chance(double probability) { return Uniform() < probability; }
  // Uniform in [low, high).
  absl::Duration Between(absl::Duration low, absl::Duration high) { return low + (high - low) * Uniform(); }

 private:
  uint64_t state_;
};

// An invariant that did not hold.
struct Violation {
  std::string invariant;
  std::string detail;
  absl::Duration at;   // since the start
  uint64_t event = 0;  // number of the event after which it was seen
};

// Not thread-safe: a simulation runs on one thread. As a Clock it stands still during an event.
class World final : public Clock {
 public:
  explicit World(uint64_t seed);

  absl::Time Now() const override { return now_; }
  absl::Time WallNow() const override { return now_ + wall_offset_; }
  void JumpWallClock(absl::Duration by) { wall_offset_ += by; }
  absl::Duration Elapsed() const { return now_ - start_; }
  // What is done takes so long; what falls due meanwhile is late.
  void Pass(absl::Duration time) { now_ += time; }

  // Does `work` after `delay` (at once: after what is already due). `what` is a literal; `actor` is the number of a site, or -1.
  void After(absl::Duration delay, const char* what, int actor, std::function<void()> work);
  // The next event; false if there is none.
  bool Step();
  uint64_t events() const { return events_done_; }

  Random random;

  // What happened: faults, the violation if there is one, a hash of the trace.
  void CountFault(const char* kind) { ++faults_[kind]; }
  const std::map<std::string, uint64_t>& faults() const { return faults_; }
  // Keeps the first; the simulation ends with the event that goes on.
  void Violate(absl::string_view invariant, std::string detail);
  const std::optional<Violation>& violation() const { return violation_; }
  // Equal for two runs only if they did the same.
  uint64_t trace_hash() const { return trace_hash_; }
  void Mix(uint64_t value) { trace_hash_ = (trace_hash_ ^ value) * 0x9e3779b97f4a7c15 + 0x632be59bd9b4e019; }
  // Lines go to standard output if `tracing`.
  bool tracing = false;
  void Trace(int actor, absl::string_view text);
  // If not null: what each party ("coordinator", or a site) hears and says, one line each (sim/recording.h).
  std::map<std::string, std::string>* recording = nullptr;
  template <typename MakeLine>
  void Record(const std::string& party, MakeLine make_line) {
    if (recording != nullptr) {
      AppendLine((*recording)[party], make_line());
    }
  }

 private:
  void AppendLine(std::string& lines, absl::string_view line) const;
  struct Event {
    absl::Time due;
    uint64_t number;
    const char* what;
    int actor;
    std::function<void()> work;
  };
  // For a heap with the earliest event on top.
  struct Later {
    bool operator()(const Event& a, const Event& b) const { return a.due != b.due ? a.due > b.due : a.number > b.number; }
  };

  const absl::Time start_;
  absl::Time now_;
  absl::Duration wall_offset_;
  std::vector<Event> queue_;
  uint64_t events_made_ = 0;
  uint64_t events_done_ = 0;
  std::map<std::string, uint64_t> faults_;
  std::optional<Violation> violation_;
  uint64_t trace_hash_ = 0;
};

}  // namespace tributary::sim

#endif  // TRIBUTARY_SIM_WORLD_H_
