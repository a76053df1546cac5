// What must hold between commit() and schedule(), checked the slow way: for tests and for a bug report's
// first minute.
#include <algorithm>
#include <map>
#include <utility>

#include "base/error.h"
#include "rollout/scheduler.h"

namespace rlcpp::rollout {
namespace {

struct Holder {
  const Sequence* sequence;
  std::size_t place;  // of the page in its table
};

// A page is shared only at one place of texts that are equal up to the end of what both have computed in it.
void check_shared(const Holder& a, const Holder& b, std::int32_t page_size) {
  RLCPP_CHECK(a.place == b.place && a.sequence->adapter == b.sequence->adapter);
  RLCPP_CHECK(a.sequence->root == b.sequence->root);
  const auto end_of_page = static_cast<std::int32_t>(a.place + 1) * page_size;
  const std::int32_t end = std::min({end_of_page, a.sequence->computed, b.sequence->computed});
  RLCPP_CHECK(
      std::equal(a.sequence->tokens.begin(), a.sequence->tokens.begin() + end, b.sequence->tokens.begin()));
}

}  // namespace

void Scheduler::check_invariants() const {
  RLCPP_CHECK(std::ranges::is_sorted(running_, {}, [&](SequenceHandle h) { return sequence(h).arrival; }));
  RLCPP_CHECK(std::ranges::is_sorted(waiting_, {}, [&](SequenceHandle h) { return sequence(h).arrival; }));
  RLCPP_CHECK(running() <= config_.max_sequences);
  RLCPP_CHECK(slots_.size() == free_slots_.size() + running_.size() + waiting_.size());

  // References are holders, and what pages hold is what the tables say.
  std::vector<std::vector<Holder>> holders(static_cast<std::size_t>(pool_.num_pages()));
  for (const SequenceHandle handle : running_) {
    const Sequence& s = sequence(handle);
    RLCPP_CHECK(s.status == SequenceStatus::kRunning);
    RLCPP_CHECK(s.computed < s.known() && static_cast<std::int32_t>(s.pages.size()) == pages_for(s.computed));
    RLCPP_CHECK(s.mixed ? s.published <= s.computed / config_.page_size
                        : s.published == s.computed / config_.page_size);
    RLCPP_CHECK(groups_.at(s.group).begun);
    for (std::size_t i = 0; i < s.pages.size(); ++i) {
      holders[static_cast<std::size_t>(s.pages[i])].push_back({&s, i});
      const bool full = static_cast<std::int32_t>(i) < s.published;
      RLCPP_CHECK(pool_.index().contains(s.pages[i]) == full);
    }
  }
  for (const SequenceHandle handle : waiting_) {
    RLCPP_CHECK(sequence(handle).status == SequenceStatus::kWaiting);
    RLCPP_CHECK(sequence(handle).pages.empty() && sequence(handle).computed == 0 && !sequence(handle).mixed);
  }
  std::int32_t held = 0;
  for (std::int32_t page = 0; page < pool_.num_pages(); ++page) {
    const std::vector<Holder>& of_page = holders[static_cast<std::size_t>(page)];
    RLCPP_CHECK(pool_.references(page) == static_cast<std::int32_t>(of_page.size()));
    held += of_page.empty() ? 0 : 1;
    for (std::size_t i = 1; i < of_page.size(); ++i) check_shared(of_page[0], of_page[i], config_.page_size);
  }
  RLCPP_CHECK(held == pool_.held_pages());
  pool_.index().check_invariants();

  // Groups count their members and know who computes the prompt.
  std::size_t members = 0;
  std::map<std::uint64_t, std::int64_t> roots;  // groups that hold each
  for (const auto& [id, group] : groups_) {
    std::int32_t group_waiting = 0;
    for (const SequenceHandle handle : group.members) {
      const Sequence& s = sequence(handle);
      RLCPP_CHECK(s.group == id && s.root == group.root);
      group_waiting += s.status == SequenceStatus::kWaiting ? 1 : 0;
      const bool leads = s.status == SequenceStatus::kRunning && s.computed < s.prompt_tokens;
      RLCPP_CHECK(leads == (group.leader == handle));
    }
    RLCPP_CHECK(group_waiting == group.waiting);
    if (group.root != Salts::kNone) ++roots[group.root];
    members += group.members.size();
  }
  RLCPP_CHECK(members == running_.size() + waiting_.size());
  pool_.index().check_salts(std::move(roots));
}

}  // namespace rlcpp::rollout
