// The roll of the ranks: who is there, and how far each has come. Rank 0's process keeps the true one, from
// what the others report over the side channel; they mirror it. It says who is awaited, and finds ranks that
// entered different collectives under one number, which the library below would answer with a hang or with
// wrong sums.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "dist/entry.h"

namespace rlcpp::dist {

// Why a run ends: the parts of an Error (base/error.h), the same on every rank.
struct Fault {
  std::string what, because, help;
  ExitCode code = ExitCode::kFailed;
};
Error error_of(const Fault& fault);

class Roll {
 public:
  using Doing = std::array<char, 48>;  // text with a closing zero

  enum class State : std::uint8_t { kAwaited, kHere, kLeft, kLost };

  // One rank; plain bytes, for the side channel. Sequences count from 1, 0 is none: `entered` by the host,
  // `begun` and `completed` by the device, which may be far behind.
  struct Row {
    std::int32_t rank = 0;
    State state = State::kAwaited;
    std::array<char, 3> reserved = {};
    std::uint64_t entered = 0, begun = 0, completed = 0;
    std::int64_t quiet_ms = 0;  // since its process was last heard
    Entry last;
    std::uint64_t notes = 0;  // how often it said what it does
    Doing doing = {};         // what it said since `last`; may be empty
  };

  explicit Roll(int size);

  int size() const { return size_; }
  // "node-b, pid 412, cuda:1".
  void describe(int rank, std::string place);
  std::string place(int rank) const;

  void arrive(int rank);
  // Left in order; what it never entered, nobody may wait for.
  void leave(int rank);
  // Gone without a word; `why`: "its connection closed".
  void lose(int rank, const std::string& why);
  void heard(int rank);

  // The rank enters its next collective. Compared with what others entered under this number, as long as they
  // are less than 4096 apart.
  void enter(int rank, const Entry& entry);
  void begin(int rank, std::uint64_t sequence);
  void complete(int rank, std::uint64_t sequence);
  // The rank is at work outside of collectives: at what, cut to what Doing holds.
  void note(int rank, std::string_view doing);
  // The same of another process's rank, which has said so `notes` times.
  void mirror_note(int rank, std::uint64_t notes, const Doing& doing);

  std::vector<Row> rows() const;
  Row row(int rank) const;
  // Takes over a row that another process sent.
  void mirror(const Row& row);

  // What `rank` is in the middle of, and for how long nothing moved there.
  struct Pending {
    Entry entry;
    std::chrono::milliseconds waited{0};
  };
  std::optional<Pending> pending(int rank) const;
  // The ranks that hold up `sequence`, with what they last did: those that never entered it; if there are
  // none, those whose device never began it; else what that leaves.
  std::string awaited(std::uint64_t sequence) const;

  // For how long no rank entered a collective, began or completed one on its device, or noted what it does.
  std::chrono::milliseconds idle() const;
  // All ranks with what they last did.
  std::string everyone() const;

  // A disagreement, a lost rank, or a rank that left while another waits for it; the first that was found.
  std::optional<Fault> fault() const;

 private:
  struct Rank {
    Row row;
    std::string place;
    std::string lost_why;
    std::int64_t heard_ms = 0;  // on our clock
    std::int64_t moved_ms = 0;  // last begin or completion
    std::int64_t busy_ms = 0;   // last sign of work of any kind
  };
  struct Seen {
    Entry entry;
    int rank = -1;
  };
  void compare(int rank, const Entry& entry);
  std::string named(int rank) const;
  std::string last_of(int rank) const;
  void set_state(int rank, State state);

  int size_;
  mutable std::mutex mutex_;
  std::vector<Rank> ranks_;
  std::vector<Seen> seen_;  // by sequence, the first that was entered under it
  std::optional<Fault> disagreement_;
};

}  // namespace rlcpp::dist
