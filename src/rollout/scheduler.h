// Who computes what in the next forward. There are no prefill and decode phases: a sequence has known tokens
// (prompt and what was sampled) and computed ones (keys and values in pages), and each step hands out a
// budget of tokens until the second number catches up with the first; then the sequence samples one more.
// Chunked prefill, prefix hits, shared prompts, preemption and new weights are all this one rule. Knows
// nothing of models, tensors or sampling.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "rollout/block_pool.h"
#include "rollout/weight_change.h"

namespace rlcpp::rollout {

struct SchedulerConfig {
  std::int32_t max_sequences = 256;      // running at once
  std::int32_t max_batch_tokens = 2048;  // of one forward
  std::int32_t page_size = 16;           // tokens
  std::int32_t num_pages = 0;            // at least enough for one sequence of max_model_len
  std::int32_t max_model_len = 2048;     // prompt and output
};

// Throws bad_input if a number is out of range or num_pages cannot hold one sequence of max_model_len.
void check_config(const SchedulerConfig& config);

using SequenceHandle = std::int32_t;  // names a sequence from add_group() until it is finished or aborted

inline constexpr std::int32_t kNoAdapter = -1;

enum class SequenceStatus : std::uint8_t { kAbsent, kWaiting, kRunning };

struct Sequence {
  SequenceStatus status = SequenceStatus::kAbsent;
  std::int64_t group = 0;
  std::int32_t sample = 0;
  std::int32_t adapter = kNoAdapter;  // pages are shared within one alone
  std::uint64_t root = Salts::kNone;  // of its salt, as well
  std::int64_t arrival = 0;           // order of submission: who comes first
  std::vector<std::int32_t> tokens;   // prompt, then output
  std::int32_t prompt_tokens = 0;
  std::int32_t computed = 0;        // tokens whose keys and values are in `pages`
  std::vector<std::int32_t> pages;  // page i holds positions [i * page_size, (i + 1) * page_size)
  std::int32_t published = 0;       // leading full pages known to the prefix index
  std::int32_t most = 0;            // tokens that memory is reserved for while it runs
  bool mixed = false;               // not all pages are of the weights of now: nobody else may have them
  std::int32_t known() const { return static_cast<std::int32_t>(tokens.size()); }
  std::int32_t outputs() const { return known() - prompt_tokens; }
};

// What one forward computes. Valid until the next call of schedule().
struct StepPlan {
  struct Chunk {
    SequenceHandle sequence;
    std::int32_t start, count;  // positions [start, start + count)
    std::int32_t row;           // of the batch: its first token
  };
  struct Sample {
    SequenceHandle sequence;
    std::int32_t row;  // of the batch: the hidden state from which its next token is drawn
  };
  struct Copy {
    std::int32_t from, to;  // pages; in this order, before the forward writes
  };
  std::vector<Chunk> chunks;    // those of one adapter are neighbours, without one come first
  std::vector<Sample> samples;  // rows ascending; siblings of one prompt share a row
  std::vector<Copy> copies;
  std::int32_t tokens = 0;
};

struct SchedulerStats {
  std::int64_t prefill_tokens =
      0;  // computed prompt tokens, and all tokens computed again after a preemption or new weights
  std::int64_t decode_tokens = 0;         // computed one at a time
  std::int64_t cached_tokens = 0;         // not computed: found in the prefix index or shared with a sibling
  std::int64_t preemptions = 0;           // for want of pages
  std::int64_t recomputed_sequences = 0;  // running when the weights changed, and computed again
  std::int64_t kept_sequences = 0;        // running when the weights changed, and went on from their pages
  std::int32_t pages_peak = 0;            // held at once
};

// First come, first served: running sequences get budget and pages in order of arrival, waiting ones are
// admitted in that order. When pages run out, the youngest running sequence gives back its pages and waits
// again at its place in the queue (a younger one may then pass it by a step); the oldest is never asked, and
// the pool is large enough for any one sequence, so every sequence ends after a bounded number of steps. Not
// thread-safe.
class Scheduler {
 public:
  // Throws what check_config() throws.
  explicit Scheduler(const SchedulerConfig& config);

  // n sequences of one prompt; the prompt is computed once and its pages are shared. Appends n handles to
  // `handles`. `group` must not be in use; 0 < prompt < max_model_len. output_hint: memory reserved for
  // output tokens. adapter: kNoAdapter, or from 0. salt: pages are shared with groups of the same one alone.
  void add_group(std::int64_t group, std::span<const std::int32_t> prompt, std::int32_t n,
                 std::int32_t output_hint, std::vector<SequenceHandle>& handles,
                 std::int32_t adapter = kNoAdapter, std::string_view salt = {});
  bool has_group(std::int64_t group) const { return groups_.contains(group); }
  std::vector<SequenceHandle> members(std::int64_t group) const;  // that are still there

  // The next forward; no tokens if nothing is left. Each call must be followed by commit().
  const StepPlan& schedule();
  // The forward is done: tokens[i] was drawn for plan.samples[i].
  void commit(std::span<const std::int32_t> tokens);

  // The token at `place` of a sequence, for which commit() was given a number below 0: it was not known yet.
  // Before the commit() after the next.
  void resolve(SequenceHandle sequence, std::int32_t place, std::int32_t token);
  bool planning() const { return open_; }  // between schedule() and commit()

  // Forgets a sequence and lets its pages go; at any moment between commit() and schedule().
  void remove(SequenceHandle sequence);

  // The weights have changed, all or those of one adapter (kNoAdapter: what reads none): no page computed so
  // far is given to anybody else. With kDrain and kAbort nothing that reads them has begun: the caller has
  // waited, or removed it. With kKeep a sequence that computes the prompt of waiting siblings starts again,
  // so that they can share it. Ends a hold.
  void new_weights(WeightChange change = WeightChange::kRecompute, std::optional<std::int32_t> adapter = {});
  // Until new_weights() no group begins.
  void hold() { held_ = true; }
  bool held() const { return held_; }
  // Groups that have begun, have not ended, and read what `adapter` says as above: none, and what is left of
  // them in order of arrival.
  bool drained(std::optional<std::int32_t> adapter = {}) const;
  std::vector<SequenceHandle> begun(std::optional<std::int32_t> adapter = {}) const;
  bool uses(std::int32_t adapter) const;  // a group that is here, begun or not

  const Sequence& sequence(SequenceHandle handle) const { return slots_[static_cast<std::size_t>(handle)]; }
  bool idle() const { return running_.empty() && waiting_.empty(); }
  std::int32_t running() const { return static_cast<std::int32_t>(running_.size()); }
  std::int64_t waiting() const { return static_cast<std::int64_t>(waiting_.size()); }
  const SchedulerConfig& config() const { return config_; }
  const SchedulerStats& stats() const { return stats_; }
  const BlockPool& pool() const { return pool_; }

  // Throws internal_error unless references equal holders, no page is lost, and nothing is shared that
  // differs. For tests.
  void check_invariants() const;

 private:
  static constexpr SequenceHandle kNobody = -1;

  struct Group {
    std::vector<SequenceHandle> members;  // that are not removed
    std::int32_t waiting = 0;             // members that wait
    SequenceHandle leader = kNobody;      // the member that computes the prompt: the others wait for it
    bool begun = false;                   // a member has run
    std::uint64_t root = Salts::kNone;    // held until the group ends
  };

  Sequence& at(SequenceHandle handle) { return slots_[static_cast<std::size_t>(handle)]; }
  Group& group_of(SequenceHandle handle) { return groups_.at(at(handle).group); }
  std::int32_t pages_for(std::int32_t tokens) const {
    return (tokens + config_.page_size - 1) / config_.page_size;
  }

  bool acquire(Sequence& sequence, std::int32_t count);
  bool make_room(SequenceHandle handle, std::int32_t count);
  void add_chunk(SequenceHandle handle, std::int32_t count);
  void admit();
  std::int32_t reserve() const;
  bool try_admit(SequenceHandle handle);
  void fork_siblings(SequenceHandle leader, std::int32_t row);
  void find_prefix(Sequence& sequence);
  void publish_pages(Sequence& sequence);
  void release_pages(Sequence& sequence);
  void gather_adapters();
  std::uint64_t& generation_of(std::int32_t adapter);
  // Every change of place goes through these, which keep `waiting` and `leader` true.
  void start_waiting(SequenceHandle handle);
  void stop_waiting(SequenceHandle handle);
  void start_running(SequenceHandle handle);
  void stop_running(SequenceHandle handle);

  SchedulerConfig config_;
  BlockPool pool_;
  std::uint64_t next_generation_ = 1;
  std::vector<std::uint64_t> generations_;  // of the weights that an adapter's sequences read; none first
  std::int64_t next_arrival_ = 0;
  std::vector<Sequence> slots_;
  std::vector<SequenceHandle> free_slots_;
  std::unordered_map<std::int64_t, Group> groups_;
  std::vector<SequenceHandle> running_;  // by arrival
  std::deque<SequenceHandle> waiting_;   // by arrival
  std::int32_t budget_ = 0;
  StepPlan plan_;
  struct Move {
    std::int32_t from, to;  // first rows of a chunk
  };
  std::vector<Move> moves_;
  SchedulerStats stats_;
  bool held_ = false;
  bool open_ = false;  // between schedule() and commit()
};

}  // namespace rlcpp::rollout
