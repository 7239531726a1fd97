#include "coordinator/made_state.h"

namespace tributary::coordinator {
namespace {

constexpr absl::Duration kKept = absl::Minutes(10);

}  // namespace

SharedBytes MadeState::Find(const std::string& run_id, uint64_t round) {
  if (made_ != nullptr && made_->run_id == run_id && made_->round == round) {
    return made_->bytes;
  }
  made_.reset();
  return nullptr;
}

SharedBytes MadeState::Keep(const std::string& run_id, uint64_t round, SharedBytes bytes) {
  made_ = std::make_shared<Made>(Made{run_id, round, std::move(bytes)});
  post_after_(kKept, [kept = std::weak_ptr<Made>(made_)] {
    if (const std::shared_ptr<Made> made = kept.lock(); made != nullptr) {
      made->bytes.reset();
    }
  });
  return made_->bytes;
}

}  // namespace tributary::coordinator
