// Whether the coordinator is reached and lets the caller in, found out without disturbing a session that the caller may have.
#ifndef TRIBUTARY_DOCTOR_REACH_H_
#define TRIBUTARY_DOCTOR_REACH_H_

#include <functional>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/channel.h"
#include "common/clock.h"

namespace tributary::doctor {

// Arranges for the function to be called when the program is interrupted, as long as what is returned lives.
using OnInterrupt = std::function<std::shared_ptr<void>(std::function<void()>)>;

struct Reached {
  absl::Time before;  // by our clock
  absl::Time after;
  absl::Time theirs = absl::InfinitePast();  // in between, by the coordinator's; InfinitePast: its release does not tell
};

// A call that any registered site or operator may make. Blocks for at most 20 seconds. Errors as ExplainCallFailure tells them.
absl::StatusOr<Reached> Reach(const Connection& connection, const Clock& clock, const OnInterrupt& on_interrupt);

}  // namespace tributary::doctor

#endif  // TRIBUTARY_DOCTOR_REACH_H_
