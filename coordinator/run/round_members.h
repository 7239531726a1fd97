// The members of one round and what each has answered.
#ifndef TRIBUTARY_COORDINATOR_RUN_ROUND_MEMBERS_H_
#define TRIBUTARY_COORDINATOR_RUN_ROUND_MEMBERS_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "coordinator/run/membership.h"

namespace tributary::coordinator {

// Names for a reason: "a, b, c"; of many, the first few and how many more there are.
std::string ListNames(const std::vector<std::string>& names);

// A value; not thread-safe. An accepted update stands: no later answer of its site replaces it. A skip or a refusal does not: another
// update of the site is still welcome. Answers of sites that are not members change nothing.
class RoundMembers {
 public:
  struct Member {
    enum class Answer { kNone, kAccepted, kSkipped, kRefused };
    Answer answer = Answer::kNone;
    std::string digest;  // of an accepted payload
    std::string why;     // it was skipped or refused
  };
  struct Tally {
    uint32_t accepted = 0;
    std::vector<std::string> awaited;  // unanswered and may still come
    std::vector<std::string> gone;     // unanswered and left
  };

  RoundMembers() = default;
  // Nobody has answered.
  explicit RoundMembers(const std::vector<std::string>& sites);

  void Accept(const std::string& site, const std::string& digest);
  void Skip(const std::string& site, const std::string& reason) { Decline(site, Member::Answer::kSkipped, reason); }
  void Refuse(const std::string& site, const std::string& reason) { Decline(site, Member::Answer::kRefused, reason); }

  // Those who answered, with `ready` sites in place of the others, at most `max` in all.
  RoundMembers WithReplacements(const std::vector<std::string>& ready, size_t max) const;

  // Null: not a member.
  const Member* Find(const std::string& site) const;
  bool HasAccepted(const std::string& site) const;
  size_t size() const { return members_.size(); }
  bool empty() const { return members_.empty(); }
  // All of them; those with this answer. Ascending.
  std::vector<std::string> Sites() const;
  std::vector<std::string> Sites(Member::Answer answer) const;
  // `membership` says who may still come.
  Tally Count(const Membership& membership) const;
  // " (a skipped: why; b was refused: why)"; empty if nobody has done either.
  std::string WhyDeclined() const;

 private:
  void Decline(const std::string& site, Member::Answer answer, const std::string& reason);

  std::map<std::string, Member> members_;  // by site
};

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_RUN_ROUND_MEMBERS_H_
