#include "coordinator/guard/open_streams.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace tributary::coordinator {

OpenStreams::~OpenStreams() {
  budget_->GiveBack(held_);
}

void OpenStreams::Begin(uint32_t stream, absl::Time now) {
  Stream begun;
  begun.due = now + kPatience;
  streams_.emplace(stream, begun);
}

absl::Status OpenStreams::Came(uint32_t stream, absl::Span<const uint8_t> bytes, absl::Time now) {
  const auto found = streams_.find(stream);
  if (found == streams_.end()) {
    return absl::OkStatus();
  }
  Stream& open = found->second;
  while (!bytes.empty()) {
    const bool in_prefix = open.prefix_size < open.prefix.size();
    if (in_prefix && open.prefix_size == 0) {
      open.due = now + kPatience;
    }
    const size_t size = std::min<uint64_t>(bytes.size(), in_prefix ? open.prefix.size() - open.prefix_size : open.left);
    open.held += size;
    held_ += size;
    if (!budget_->Take(size, held_)) {
      return absl::ResourceExhaustedError("too many messages that have begun and not ended");
    }
    if (in_prefix) {
      std::copy_n(bytes.begin(), size, open.prefix.begin() + open.prefix_size);
      open.prefix_size += size;
      if (open.prefix_size == open.prefix.size()) {
        open.left = uint64_t{open.prefix[1]} << 24 | uint64_t{open.prefix[2]} << 16 | uint64_t{open.prefix[3]} << 8 | open.prefix[4];
        open.due = now + kPatience + absl::Seconds(open.left / kSlowest);
      }
    } else {
      open.left -= size;
    }
    bytes.remove_prefix(size);
    if (open.prefix_size == open.prefix.size() && open.left == 0) {
      GiveBack(open.held);
      open = {};
      open.due = absl::InfiniteFuture();
    }
  }
  return absl::OkStatus();
}

void OpenStreams::End(uint32_t stream) {
  if (const auto found = streams_.find(stream); found != streams_.end()) {
    GiveBack(found->second.held);
    streams_.erase(found);
  }
}

void OpenStreams::GiveBack(uint64_t bytes) {
  budget_->GiveBack(bytes);
  held_ -= bytes;
}

absl::Status OpenStreams::Look(absl::Time now) const {
  for (const auto& [number, stream] : streams_) {
    if (now >= stream.due) {
      return absl::ResourceExhaustedError(
          absl::StrCat("a call waits for a message of which ", stream.held, " bytes came, and it should be here by now"));
    }
  }
  return absl::OkStatus();
}

}  // namespace tributary::coordinator
