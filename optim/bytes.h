// The names of common/bytes.h, as this folder's.
#ifndef TRIBUTARY_OPTIM_BYTES_H_
#define TRIBUTARY_OPTIM_BYTES_H_

#include "common/bytes.h"

namespace tributary::optim {

using tributary::AppendFloats;
using tributary::AppendLittleEndian;
using tributary::AsBytes;
using tributary::ByteReader;

}  // namespace tributary::optim

#endif  // TRIBUTARY_OPTIM_BYTES_H_
