// How many files and connections this process may have open.
#ifndef TRIBUTARY_COMMON_DESCRIPTORS_H_
#define TRIBUTARY_COMMON_DESCRIPTORS_H_

#include <cstdint>

namespace tributary {

// Raises the soft limit, which shells, systemd and container runtimes leave at 1,024, to the hard one. Returns what is in force then.
uint64_t RaiseDescriptorLimit();

}  // namespace tributary

#endif  // TRIBUTARY_COMMON_DESCRIPTORS_H_
