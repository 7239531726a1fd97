// A trainer that costs microseconds: its directions are a function of (seed, site, round, local step, parameters), like a real one's.
#ifndef TRIBUTARY_SIM_SYNTHETIC_TRAINER_H_
#define TRIBUTARY_SIM_SYNTHETIC_TRAINER_H_

#include "sim/sim_worker.h"

namespace tributary::sim {

// `mischief` outlives what the factory makes.
worker::TrainerFactory SyntheticTrainers(Mischief* mischief);

}  // namespace tributary::sim

#endif  // TRIBUTARY_SIM_SYNTHETIC_TRAINER_H_
