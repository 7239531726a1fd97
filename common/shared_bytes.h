// Bytes that several readers hold at once and nobody changes.
#ifndef TRIBUTARY_COMMON_SHARED_BYTES_H_
#define TRIBUTARY_COMMON_SHARED_BYTES_H_

#include <memory>
#include <string>

namespace tributary {

using SharedBytes = std::shared_ptr<const std::string>;

}  // namespace tributary

#endif  // TRIBUTARY_COMMON_SHARED_BYTES_H_
