#include "proto/protocol_version.h"

#include <algorithm>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace tributary {
namespace {

uint32_t NewestOf(const ProtocolSpeaker& speaker) {
  return std::max(speaker.oldest, speaker.newest);
}

}  // namespace

std::string FormatProtocol(const ProtocolSpeaker& speaker) {
  const uint32_t newest = NewestOf(speaker);
  return newest == speaker.oldest ? absl::StrCat(newest) : absl::StrCat(speaker.oldest, " to ", newest);
}

absl::StatusOr<uint32_t> NegotiateProtocol(const ProtocolSpeaker& here, const ProtocolSpeaker& there) {
  const uint32_t common = std::min(NewestOf(here), NewestOf(there));
  if (common >= std::max(here.oldest, there.oldest)) {
    return common;
  }
  const bool here_is_behind = NewestOf(here) < there.oldest;
  return absl::FailedPreconditionError(absl::StrCat(here.name, " speaks protocol version ", FormatProtocol(here), ", ", there.name,
                                                    " version ", FormatProtocol(there), "; upgrade ",
                                                    here_is_behind ? here.name : there.name));
}

}  // namespace tributary
