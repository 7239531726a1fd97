// How a diffusion model mixes an image x with noise e: at step t of T, x_t = sqrt(a_t) x + sqrt(1 - a_t) e.
#ifndef TRIBUTARY_WORKER_MODELS_NOISE_SCHEDULE_H_
#define TRIBUTARY_WORKER_MODELS_NOISE_SCHEDULE_H_

#include <cstdint>
#include <vector>

#include "worker/data/counter_rng.h"

namespace tributary::worker {

// a_t for t in 0 .. steps-1, falling from nearly 1 to nearly 0. Source: the cosine schedule of Nichol and Dhariwal, arXiv 2102.09672,
// section 3.2, a_t = f(t + 1) / f(0) with f(t) = cos^2((t / T + s) / (1 + s) pi / 2), s = .008, and no step that takes more than .999 of
// what is left. Small images keep more of themselves at its middle than at that of the linear schedule.
std::vector<double> NoiseSchedule(int64_t steps);

// A number of the standard normal distribution. Source: Box and Muller, 1958.
double DrawNormal(CounterRng& rng);

}  // namespace tributary::worker

#endif  // TRIBUTARY_WORKER_MODELS_NOISE_SCHEDULE_H_
