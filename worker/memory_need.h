// What a run takes of a site's memory: all that depends on its specification. The program with LibTorch takes some 150 MiB besides, and the
// site's data what it has on disk (numbers of a table: 4 bytes each; images: a byte for each value of what they are scaled to).
#ifndef TRIBUTARY_WORKER_MEMORY_NEED_H_
#define TRIBUTARY_WORKER_MEMORY_NEED_H_

#include <cstdint>

#include "common/memory_need.h"
#include "optim/layout.h"
#include "optim/model_spec.h"
#include "optim/options.h"

namespace tributary::worker {

// `batch_size`: samples of one step. `pipelined`: the state before the last commit is held, too.
enum class Pipelining { kOff, kOn };
MemoryNeed MemoryToTrain(const optim::ModelSpec& model, const optim::OptimizerOptions& optimizer, const optim::Layout& layout,
                         uint32_t batch_size, Pipelining pipelining);

}  // namespace tributary::worker

#endif  // TRIBUTARY_WORKER_MEMORY_NEED_H_
