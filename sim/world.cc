#include "sim/world.h"

#include <algorithm>
#include <iostream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace tributary::sim {

uint64_t Random::Next() {
  uint64_t z = state_ += 0x9e3779b97f4a7c15;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

// 2026-01-01.
World::World(uint64_t seed) : random(seed), start_(absl::FromUnixSeconds(1767225600)), now_(start_) {}

void World::After(absl::Duration delay, const char* what, int actor, std::function<void()> work) {
  queue_.push_back(Event{now_ + std::max(delay, absl::ZeroDuration()), events_made_++, what, actor, std::move(work)});
  std::push_heap(queue_.begin(), queue_.end(), Later());
}

bool World::Step() {
  if (queue_.empty()) {
    return false;
  }
  std::pop_heap(queue_.begin(), queue_.end(), Later());
  Event event = std::move(queue_.back());
  queue_.pop_back();
  now_ = std::max(now_, event.due);
  ++events_done_;
  Mix(static_cast<uint64_t>(absl::ToInt64Nanoseconds(now_ - start_)));
  Mix(static_cast<uint64_t>(event.actor) << 8 ^ static_cast<uint64_t>(event.what[0]));
  event.work();
  return true;
}

void World::Violate(absl::string_view invariant, std::string detail) {
  if (tracing) {
    Trace(-1, absl::StrCat("VIOLATION ", invariant, ": ", detail));
  }
  if (!violation_.has_value()) {
    violation_ = Violation{std::string(invariant), std::move(detail), Elapsed(), events_done_};
  }
}

void World::AppendLine(std::string& lines, absl::string_view line) const {
  absl::StrAppend(&lines, absl::ToInt64Nanoseconds(Elapsed()), " ", line, "\n");
}

void World::Trace(int actor, absl::string_view text) {
  if (tracing) {
    std::cout << absl::StreamFormat("%10.3f #%-7d %-6s %s\n", absl::ToDoubleSeconds(Elapsed()), events_done_,
                                    actor < 0 ? "coord" : absl::StrCat("site-", actor), text);
  }
}

}  // namespace tributary::sim
