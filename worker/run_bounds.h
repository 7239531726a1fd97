// What a worker takes of a coordinator: no more than the run that the site consents to can need, whatever the coordinator says.
#ifndef TRIBUTARY_WORKER_RUN_BOUNDS_H_
#define TRIBUTARY_WORKER_RUN_BOUNDS_H_

#include <cstdint>
#include <deque>

#include "absl/status/status.h"
#include "tributary/v1/session.pb.h"
#include "worker/consent.h"

namespace tributary::worker {

// InvalidArgument, for people: no coordinator of ours says this. An offer whose run id is none; of the run that is taken part in (`offer`,
// null: none; `size`: its), a round that its specification does not have, a snapshot or base from after the round that it leads to, or a
// commit that is longer than its model needs.
absl::Status CheckMessage(const v1::CoordinatorMessage& message, const v1::RunOffer* offer, const RunSize& size);

// The longest that the run's snapshots can be; UINT64_MAX: more than can be counted.
uint64_t MaxSnapshotBytes(const RunSize& size);
// The longest that `count` of its commits can be in one download, with what stands between them.
uint64_t MaxCommitBytes(const RunSize& size, uint64_t count);
// So many commits a worker fetches at once, at least one: they are in memory until they are applied.
uint64_t CommitsAtOnce(const RunSize& size);
// Whether as many commits wait as should.
bool EnoughCommitsWait(const std::deque<v1::Commit>& waiting);

}  // namespace tributary::worker

#endif  // TRIBUTARY_WORKER_RUN_BOUNDS_H_
