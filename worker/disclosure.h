// What a run would have this site send, in words: said before the site consents, and by `tributary-worker consent`.
#ifndef TRIBUTARY_WORKER_DISCLOSURE_H_
#define TRIBUTARY_WORKER_DISCLOSURE_H_

#include <string>

#include "absl/status/statusor.h"
#include "tributary/v1/run.pb.h"
#include "tributary/v1/session.pb.h"
#include "worker/engine_messages.h"

namespace tributary::worker {

// "each round every value of the gradient of 8 samples, clipped to a norm of 1; its training loss; ...", one sentence without its end.
// InvalidArgument: the run is not valid.
absl::StatusOr<std::string> Disclosure(const v1::RunSpec& spec, Reported reported);

// Of a run that the site takes part in, for its log: that it does, and what it discloses.
std::string ConsentText(const v1::RunOffer& offer, Reported reported);

}  // namespace tributary::worker

#endif  // TRIBUTARY_WORKER_DISCLOSURE_H_
