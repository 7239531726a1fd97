// Sizes as people read them.
#ifndef TRIBUTARY_COMMON_FORMAT_BYTES_H_
#define TRIBUTARY_COMMON_FORMAT_BYTES_H_

#include <string>

namespace tributary {

// "512 B", "1.50 KiB", "3.00 GiB".
std::string FormatBytes(double bytes);

}  // namespace tributary

#endif  // TRIBUTARY_COMMON_FORMAT_BYTES_H_
