#include "rollout/scheduler.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"

namespace rlcpp::rollout {

void check_config(const SchedulerConfig& config) {
  const auto at_least = [](const char* field, std::int32_t value, std::int32_t least) {
    if (value >= least) return;
    throw bad_input(fmt::format("{} of the rollout engine is {}", field, value),
                    fmt::format("it must be at least {}", least), fmt::format("raise {}", field));
  };
  at_least("max_sequences", config.max_sequences, 1);
  at_least("max_batch_tokens", config.max_batch_tokens, 1);
  at_least("page_size", config.page_size, 1);
  at_least("max_model_len", config.max_model_len, 2);
  const std::int32_t least = (config.max_model_len + config.page_size - 1) / config.page_size;
  if (config.num_pages < least) {
    throw bad_input(
        fmt::format("the KV cache of the rollout engine is too small: num_pages is {}", config.num_pages),
        fmt::format("one sequence of max_model_len {} needs {} pages of {} tokens", config.max_model_len,
                    least, config.page_size),
        "raise num_pages or lower max_model_len");
  }
}

Scheduler::Scheduler(const SchedulerConfig& config)
    : config_((check_config(config), config)), pool_(config.num_pages, config.page_size) {
  const auto sequences = static_cast<std::size_t>(config.max_sequences);
  running_.reserve(sequences);
  plan_.chunks.reserve(sequences);
  plan_.samples.reserve(sequences);
  plan_.copies.reserve(sequences);
  moves_.reserve(sequences);
}

void Scheduler::add_group(std::int64_t group, std::span<const std::int32_t> prompt, std::int32_t n,
                          std::int32_t output_hint, std::vector<SequenceHandle>& handles,
                          std::int32_t adapter, std::string_view salt) {
  RLCPP_CHECK(n >= 1 && !prompt.empty() && adapter >= kNoAdapter);
  RLCPP_CHECK(prompt.size() < static_cast<std::size_t>(config_.max_model_len));
  const auto [place, added] = groups_.try_emplace(group);
  RLCPP_CHECK(added);
  const std::uint64_t root = place->second.root = pool_.salts().hold(salt);
  for (std::int32_t sample = 0; sample < n; ++sample) {
    SequenceHandle handle;
    if (free_slots_.empty()) {
      handle = static_cast<SequenceHandle>(slots_.size());
      slots_.emplace_back();
    } else {
      handle = free_slots_.back();
      free_slots_.pop_back();
    }
    Sequence& sequence = at(handle);
    sequence.group = group;
    sequence.sample = sample;
    sequence.adapter = adapter;
    sequence.root = root;
    sequence.arrival = next_arrival_++;
    sequence.tokens.assign(prompt.begin(), prompt.end());
    sequence.prompt_tokens = sequence.known();
    sequence.computed = 0;
    sequence.published = 0;
    sequence.most = std::min(sequence.known() + std::max(output_hint, 1), config_.max_model_len);
    place->second.members.push_back(handle);
    start_waiting(handle);
    handles.push_back(handle);
  }
}

std::vector<SequenceHandle> Scheduler::members(std::int64_t group) const {
  const auto place = groups_.find(group);
  return place == groups_.end() ? std::vector<SequenceHandle>{} : place->second.members;
}

void Scheduler::start_waiting(SequenceHandle handle) {
  Sequence& sequence = at(handle);
  sequence.status = SequenceStatus::kWaiting;
  // New sequences come last and preempted ones were running before all that wait, so one of the ends is near.
  if (waiting_.empty() || at(waiting_.back()).arrival < sequence.arrival) {
    waiting_.push_back(handle);
  } else {
    auto place = waiting_.begin();
    while (at(*place).arrival < sequence.arrival) ++place;
    waiting_.insert(place, handle);
  }
  ++group_of(handle).waiting;
}

void Scheduler::stop_waiting(SequenceHandle handle) {
  const auto place = std::ranges::find(waiting_, handle);
  RLCPP_CHECK(place != waiting_.end());
  waiting_.erase(place);
  --group_of(handle).waiting;
}

void Scheduler::start_running(SequenceHandle handle) {
  Sequence& sequence = at(handle);
  sequence.status = SequenceStatus::kRunning;
  sequence.tokens.reserve(static_cast<std::size_t>(sequence.most));
  sequence.pages.reserve(static_cast<std::size_t>(pages_for(sequence.most)));
  auto place = running_.end();
  while (place != running_.begin() && at(*(place - 1)).arrival > sequence.arrival) --place;
  running_.insert(place, handle);
  Group& group = group_of(handle);
  group.begun = true;
  if (sequence.computed < sequence.prompt_tokens) {
    RLCPP_CHECK(group.leader == kNobody);
    group.leader = handle;
  }
}

void Scheduler::stop_running(SequenceHandle handle) {
  const auto place = std::find(running_.rbegin(), running_.rend(), handle);
  RLCPP_CHECK(place != running_.rend());
  running_.erase(std::next(place).base());
  release_pages(at(handle));
  Group& group = group_of(handle);
  if (group.leader == handle) group.leader = kNobody;
}

void Scheduler::release_pages(Sequence& sequence) {
  for (std::size_t i = sequence.pages.size(); i-- > 0;) pool_.release(sequence.pages[i]);
  sequence.pages.clear();
  sequence.computed = 0;
  sequence.published = 0;
  sequence.mixed = false;
}

const StepPlan& Scheduler::schedule() {
  RLCPP_CHECK(!open_);
  open_ = true;
  plan_.chunks.clear();
  plan_.samples.clear();
  plan_.copies.clear();
  plan_.tokens = 0;
  budget_ = config_.max_batch_tokens;

  // A sequence gets pages only from those after it, so nothing that is already in this plan is ever
  // preempted.
  bool starved = false;
  for (std::size_t i = 0; i < running_.size() && budget_ > 0; ++i) {
    const SequenceHandle handle = running_[i];
    const std::int32_t left = at(handle).known() - at(handle).computed;
    if (left == 0) continue;  // a sibling that joined in this very step
    const std::int64_t preemptions = stats_.preemptions;
    const std::int32_t count = std::min(left, budget_);
    const bool has_room = make_room(handle, count);
    starved = starved || !has_room || stats_.preemptions != preemptions;
    if (!has_room) break;  // it is the youngest
    add_chunk(handle, count);
  }
  if (!starved) admit();
  gather_adapters();
  stats_.pages_peak = std::max(stats_.pages_peak, pool_.held_pages());
  return plan_;
}

// Pages for `count` more tokens: new ones, and a copy of the last page if it is shared and about to be
// written. All or nothing.
bool Scheduler::acquire(Sequence& sequence, std::int32_t count) {
  const auto held = static_cast<std::int32_t>(sequence.pages.size());
  const std::int32_t added = pages_for(sequence.computed + count) - held;
  const bool partial = sequence.computed % config_.page_size != 0;
  const bool copy = partial && pool_.references(sequence.pages.back()) > 1;
  if (pool_.available() < added + (copy ? 1 : 0)) return false;
  if (copy) {
    const std::int32_t shared = sequence.pages.back();
    sequence.pages.back() = pool_.allocate();
    plan_.copies.push_back({shared, sequence.pages.back()});
    pool_.release(shared);
  }
  for (std::int32_t i = 0; i < added; ++i) sequence.pages.push_back(pool_.allocate());
  return true;
}

// Takes pages from the youngest until `handle` has what it needs. False: it is the youngest itself, and keeps
// what it has until its elders end or take it.
bool Scheduler::make_room(SequenceHandle handle, std::int32_t count) {
  while (!acquire(at(handle), count)) {
    const SequenceHandle victim = running_.back();
    if (victim == handle) {
      RLCPP_CHECK(running_.size() > 1);
      return false;
    }
    RLCPP_CHECK(at(victim).computed < at(victim).known());  // not a sibling that joined in this step
    stop_running(victim);
    start_waiting(victim);
    ++stats_.preemptions;
  }
  return true;
}

void Scheduler::add_chunk(SequenceHandle handle, std::int32_t count) {
  const Sequence& sequence = at(handle);
  const std::int32_t row = plan_.tokens;
  const std::int32_t end = sequence.computed + count;
  plan_.chunks.push_back({handle, sequence.computed, count, row});
  plan_.tokens += count;
  budget_ -= count;
  const bool decode = count == 1 && end == sequence.known() && end > sequence.prompt_tokens;
  (decode ? stats_.decode_tokens : stats_.prefill_tokens) += count;
  if (end < sequence.known()) return;
  plan_.samples.push_back({handle, row + count - 1});
  if (end == sequence.prompt_tokens) fork_siblings(handle, row + count - 1);
}

// The leader's chunk completes the prompt: siblings that have nothing of their own yet share its pages and
// draw their first token from the same row. Those that find no place now come later through the prefix index.
void Scheduler::fork_siblings(SequenceHandle leader, std::int32_t row) {
  const Group& group = group_of(leader);
  if (group.waiting == 0) return;
  for (const SequenceHandle handle : group.members) {
    if (at(handle).status != SequenceStatus::kWaiting || at(handle).outputs() > 0) continue;
    if (running() >= config_.max_sequences || pool_.available() < reserve() + 1) return;
    Sequence& sibling = at(handle);
    const Sequence& source = at(leader);
    RLCPP_CHECK(!source.mixed);  // see new_weights()
    stop_waiting(handle);
    sibling.pages = source.pages;
    for (const std::int32_t page : sibling.pages) pool_.retain(page);
    sibling.computed = sibling.prompt_tokens;
    sibling.published = source.published;
    stats_.cached_tokens += sibling.prompt_tokens;
    start_running(handle);
    plan_.samples.push_back({handle, row});
  }
}

// In order of arrival; nobody overtakes. A sibling waits until its prompt is computed, and so do those behind
// it: the prompt takes the whole budget until then, except in a step where the sibling found no room beside
// its leader.
void Scheduler::admit() {
  while (!waiting_.empty() && budget_ > 0 && running() < config_.max_sequences) {
    const SequenceHandle handle = waiting_.front();
    if (held_ && !group_of(handle).begun) break;
    if (group_of(handle).leader != kNobody || !try_admit(handle)) break;
  }
}

// Pages left to those that run: each may soon want one, and a newcomer that took them would be preempted at
// once.
std::int32_t Scheduler::reserve() const {
  const bool ample =
      std::int64_t{config_.max_sequences} * pages_for(config_.max_model_len) <= config_.num_pages;
  return ample ? 0 : running();
}

bool Scheduler::try_admit(SequenceHandle handle) {
  Sequence& sequence = at(handle);
  find_prefix(sequence);
  // Pages for the whole text and its next token must be there, although only a chunk of it may be computed
  // now.
  const std::int32_t wanted = pages_for(std::min(sequence.known() + 1, config_.max_model_len)) -
                              static_cast<std::int32_t>(sequence.pages.size());
  if (!running_.empty() && pool_.available() < wanted + reserve()) {
    release_pages(sequence);
    return false;
  }
  stats_.cached_tokens += sequence.computed;
  stop_waiting(handle);
  start_running(handle);
  const std::int32_t count = std::min(sequence.known() - sequence.computed, budget_);
  const bool acquired = acquire(sequence, count);
  RLCPP_CHECK(acquired);
  add_chunk(handle, count);
  return true;
}

// Full pages of the text's beginning that are known. At least one token is left to compute: the next one is
// drawn from its hidden state.
void Scheduler::find_prefix(Sequence& sequence) {
  const std::int32_t size = config_.page_size;
  const std::span<const std::int32_t> tokens = sequence.tokens;
  const std::int32_t limit = (sequence.known() - 1) / size;
  const std::uint64_t generation = generation_of(sequence.adapter);
  std::uint64_t parent = sequence.root;
  for (std::int32_t i = 0; i < limit; ++i) {
    const auto content = tokens.subspan(static_cast<std::size_t>(i) * static_cast<std::size_t>(size),
                                        static_cast<std::size_t>(size));
    const std::int32_t page = pool_.find_and_retain(generation, parent, content);
    if (page == PrefixIndex::kNone) break;
    sequence.pages.push_back(page);
    parent = pool_.serial(page);
  }
  sequence.published = static_cast<std::int32_t>(sequence.pages.size());
  sequence.computed = sequence.published * size;
}

void Scheduler::publish_pages(Sequence& sequence) {
  if (sequence.mixed) return;
  const std::int32_t size = config_.page_size;
  const std::span<const std::int32_t> tokens = sequence.tokens;
  while ((sequence.published + 1) * size <= sequence.computed) {
    const auto i = static_cast<std::size_t>(sequence.published);
    const std::uint64_t parent = i == 0 ? sequence.root : pool_.serial(sequence.pages[i - 1]);
    const auto content = tokens.subspan(i * static_cast<std::size_t>(size), static_cast<std::size_t>(size));
    sequence.pages[i] = pool_.publish(sequence.pages[i], generation_of(sequence.adapter), parent, content);
    ++sequence.published;
  }
}

void Scheduler::commit(std::span<const std::int32_t> tokens) {
  RLCPP_CHECK(open_ && tokens.size() == plan_.samples.size());
  open_ = false;
  for (const StepPlan::Chunk& chunk : plan_.chunks) {
    Sequence& sequence = at(chunk.sequence);
    sequence.computed += chunk.count;
    publish_pages(sequence);
    Group& group = group_of(chunk.sequence);
    if (group.leader == chunk.sequence && sequence.computed >= sequence.prompt_tokens) group.leader = kNobody;
  }
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    Sequence& sequence = at(plan_.samples[i].sequence);
    publish_pages(sequence);  // of siblings, which were in no chunk
    sequence.tokens.push_back(tokens[i]);
    RLCPP_CHECK(sequence.known() <= config_.max_model_len);
  }
}

void Scheduler::resolve(SequenceHandle handle, std::int32_t place, std::int32_t token) {
  Sequence& sequence = at(handle);
  RLCPP_CHECK(place >= sequence.computed && place < sequence.known());
  std::int32_t& at_place = sequence.tokens[static_cast<std::size_t>(place)];
  RLCPP_CHECK(at_place < 0 && token >= 0);
  at_place = token;
}

void Scheduler::remove(SequenceHandle handle) {
  RLCPP_CHECK(!open_);
  Sequence& sequence = at(handle);
  RLCPP_CHECK(sequence.status != SequenceStatus::kAbsent);
  if (sequence.status == SequenceStatus::kRunning) {
    stop_running(handle);
  } else {
    stop_waiting(handle);
  }
  sequence.status = SequenceStatus::kAbsent;
  sequence.tokens = {};  // memory follows what is there, not the longest queue there ever was
  sequence.pages = {};
  free_slots_.push_back(handle);
  Group& group = group_of(handle);
  std::erase(group.members, handle);
  if (!group.members.empty()) return;
  pool_.salts().release(group.root);
  groups_.erase(sequence.group);
}

}  // namespace rlcpp::rollout
