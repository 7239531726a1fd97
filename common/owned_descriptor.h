// A file descriptor with an owner, who closes it.
#ifndef TRIBUTARY_COMMON_OWNED_DESCRIPTOR_H_
#define TRIBUTARY_COMMON_OWNED_DESCRIPTOR_H_

#include <unistd.h>

#include <utility>

namespace tributary {

class OwnedDescriptor {
 public:
  OwnedDescriptor() = default;
  explicit OwnedDescriptor(int descriptor) : descriptor_(descriptor) {}
  OwnedDescriptor(OwnedDescriptor&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
  OwnedDescriptor& operator=(OwnedDescriptor&& other) noexcept {
    std::swap(descriptor_, other.descriptor_);
    return *this;
  }
  ~OwnedDescriptor() {
    if (descriptor_ >= 0) {
      close(descriptor_);
    }
  }

  // -1: none.
  int get() const { return descriptor_; }
  int Release() { return std::exchange(descriptor_, -1); }

 private:
  int descriptor_ = -1;
};

}  // namespace tributary

#endif  // TRIBUTARY_COMMON_OWNED_DESCRIPTOR_H_
