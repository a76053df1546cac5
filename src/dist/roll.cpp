#include "dist/roll.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/error.h"

namespace rlcpp::dist {
namespace {

constexpr std::size_t kCompared = 4096;

std::int64_t now_ms() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

std::string seconds(std::int64_t ms) {
  return fmt::format("{:.1f} s", static_cast<double>(ms) / 1000);
}

}  // namespace

Error error_of(const Fault& fault) {
  return {fault.code, fault.what, fault.because, fault.help};
}

Roll::Roll(int size) : size_(size), ranks_(static_cast<std::size_t>(size)), seen_(kCompared) {
  for (int rank = 0; rank < size; ++rank) ranks_[static_cast<std::size_t>(rank)].row.rank = rank;
}

std::string Roll::named(int rank) const {
  const std::string& place = ranks_[static_cast<std::size_t>(rank)].place;
  return place.empty() ? fmt::format("rank {}", rank) : fmt::format("rank {} ({})", rank, place);
}

std::string Roll::last_of(int rank) const {
  const Rank& r = ranks_[static_cast<std::size_t>(rank)];
  switch (r.row.state) {
    case State::kAwaited:
      return "never arrived";
    case State::kLeft:
      return "left after " + text_of(r.row.last);
    case State::kLost:
      return fmt::format("is gone ({}) after {}", r.lost_why, text_of(r.row.last));
    case State::kHere:
      break;
  }
  std::string text = "entered last: " + text_of(r.row.last);
  // Bytes that came over a socket may lack the closing zero.
  const std::string_view doing(r.row.doing.data(), r.row.doing.size() - 1);
  if (!doing.empty() && doing.front() != '\0')
    text += fmt::format(", then: {}", doing.substr(0, doing.find('\0')));
  const std::int64_t quiet = now_ms() - r.heard_ms;
  if (r.heard_ms != 0 && quiet >= 2000) text += ", its process last heard " + seconds(quiet) + " ago";
  return text;
}

std::string Roll::place(int rank) const {
  const std::lock_guard lock(mutex_);
  return ranks_[static_cast<std::size_t>(rank)].place;
}

void Roll::describe(int rank, std::string place) {
  const std::lock_guard lock(mutex_);
  ranks_[static_cast<std::size_t>(rank)].place = std::move(place);
}

void Roll::set_state(int rank, State state) {
  const std::lock_guard lock(mutex_);
  State& now = ranks_[static_cast<std::size_t>(rank)].row.state;
  // A rank that left or was lost does not come back.
  if (now == State::kAwaited || now == State::kHere) now = state;
  ranks_[static_cast<std::size_t>(rank)].busy_ms = now_ms();
}

void Roll::arrive(int rank) {
  set_state(rank, State::kHere);
}

void Roll::leave(int rank) {
  set_state(rank, State::kLeft);
}

void Roll::lose(int rank, const std::string& why) {
  {
    const std::lock_guard lock(mutex_);
    ranks_[static_cast<std::size_t>(rank)].lost_why = why;
  }
  set_state(rank, State::kLost);
}

void Roll::heard(int rank) {
  const std::lock_guard lock(mutex_);
  ranks_[static_cast<std::size_t>(rank)].heard_ms = now_ms();
}

void Roll::compare(int rank, const Entry& entry) {
  Seen& seen = seen_[entry.sequence % kCompared];
  if (seen.entry.sequence > entry.sequence) return;
  if (seen.entry.sequence < entry.sequence) {
    seen = {entry, rank};
    return;
  }
  if (seen.entry == entry || disagreement_) return;
  disagreement_ = {
      fmt::format("ranks entered different collectives as #{}: {} entered {}, {} entered {}", entry.sequence,
                  named(seen.rank), text_of(seen.entry), named(rank), text_of(entry)),
      "every rank must enter the same collectives in the same order",
      "report this with the configuration of both ranks; nothing was saved after this point"};
}

void Roll::enter(int rank, const Entry& entry) {
  const std::lock_guard lock(mutex_);
  Rank& r = ranks_[static_cast<std::size_t>(rank)];
  r.row.entered = entry.sequence;
  r.row.last = entry;
  r.row.doing = {};
  r.busy_ms = now_ms();
  if (entry.sequence != 0) compare(rank, entry);
}

void Roll::begin(int rank, std::uint64_t sequence) {
  const std::lock_guard lock(mutex_);
  Rank& r = ranks_[static_cast<std::size_t>(rank)];
  if (sequence <= r.row.begun) return;
  r.row.begun = sequence;
  r.moved_ms = r.busy_ms = now_ms();
}

void Roll::complete(int rank, std::uint64_t sequence) {
  const std::lock_guard lock(mutex_);
  Rank& r = ranks_[static_cast<std::size_t>(rank)];
  if (sequence <= r.row.completed) return;
  r.row.begun = std::max(r.row.begun, sequence);
  r.row.completed = sequence;
  r.moved_ms = r.busy_ms = now_ms();
}

void Roll::note(int rank, std::string_view doing) {
  const std::lock_guard lock(mutex_);
  Rank& r = ranks_[static_cast<std::size_t>(rank)];
  ++r.row.notes;
  r.row.doing = {};
  std::copy_n(doing.begin(), std::min(doing.size(), r.row.doing.size() - 1), r.row.doing.begin());
  r.busy_ms = now_ms();
}

void Roll::mirror_note(int rank, std::uint64_t notes, const Doing& doing) {
  const std::lock_guard lock(mutex_);
  Rank& r = ranks_[static_cast<std::size_t>(rank)];
  r.row.doing = doing;
  if (notes == r.row.notes) return;
  r.row.notes = notes;
  r.busy_ms = now_ms();
}

std::vector<Roll::Row> Roll::rows() const {
  const std::lock_guard lock(mutex_);
  std::vector<Row> rows;
  rows.reserve(ranks_.size());
  for (const Rank& rank : ranks_) {
    rows.push_back(rank.row);
    rows.back().quiet_ms = rank.heard_ms == 0 ? 0 : now_ms() - rank.heard_ms;
  }
  return rows;
}

Roll::Row Roll::row(int rank) const {
  const std::lock_guard lock(mutex_);
  return ranks_[static_cast<std::size_t>(rank)].row;
}

void Roll::mirror(const Row& row) {
  const std::lock_guard lock(mutex_);
  Rank& r = ranks_[static_cast<std::size_t>(row.rank)];
  const bool moved = row.begun != r.row.begun || row.completed != r.row.completed;
  const bool busy = moved || row.entered != r.row.entered || row.notes != r.row.notes;
  r.row = row;
  if (moved) r.moved_ms = now_ms();
  if (busy) r.busy_ms = now_ms();
  r.heard_ms = now_ms() - row.quiet_ms;
  if (row.state == State::kLost && r.lost_why.empty()) r.lost_why = "as rank 0's process says";
  if (row.last.sequence != 0) compare(row.rank, row.last);
}

std::optional<Roll::Pending> Roll::pending(int rank) const {
  const std::lock_guard lock(mutex_);
  const Rank& r = ranks_[static_cast<std::size_t>(rank)];
  if (r.row.begun <= r.row.completed) return std::nullopt;
  const Entry& first = seen_[(r.row.completed + 1) % kCompared].entry;
  return Pending{first.sequence == r.row.completed + 1 ? first : r.row.last,
                 std::chrono::milliseconds(now_ms() - r.moved_ms)};
}

std::string Roll::awaited(std::uint64_t sequence) const {
  const std::lock_guard lock(mutex_);
  const auto list = [&](std::uint64_t Row::*counter) {
    std::string text;
    int more = 0;
    for (int rank = 0; rank < size_; ++rank) {
      const Rank& r = ranks_[static_cast<std::size_t>(rank)];
      if (r.row.*counter >= sequence) continue;
      if (std::count(text.begin(), text.end(), ';') >= 4) {
        ++more;
        continue;
      }
      text += (text.empty() ? "" : "; ") + named(rank) + " " + last_of(rank);
    }
    return more == 0 ? text : text + fmt::format("; and {} more ranks", more);
  };
  if (std::string text = list(&Row::entered); !text.empty()) return text;
  if (std::string text = list(&Row::begun); !text.empty()) {
    return text + "; its device has not come to this one";
  }
  return "every rank is in it: a device or the network between them stands still";
}

std::chrono::milliseconds Roll::idle() const {
  const std::lock_guard lock(mutex_);
  std::int64_t newest = 0;
  for (const Rank& rank : ranks_) newest = std::max(newest, rank.busy_ms);
  return std::chrono::milliseconds(newest == 0 ? 0 : now_ms() - newest);
}

std::string Roll::everyone() const {
  constexpr int kNamed = 4;
  const std::lock_guard lock(mutex_);
  std::string text;
  for (int rank = 0; rank < std::min(size_, kNamed); ++rank)
    text += (rank == 0 ? "" : "; ") + named(rank) + " " + last_of(rank);
  return size_ <= kNamed ? text : text + fmt::format("; and {} more ranks", size_ - kNamed);
}

std::optional<Fault> Roll::fault() const {
  const std::lock_guard lock(mutex_);
  if (disagreement_) return disagreement_;
  for (int rank = 0; rank < size_; ++rank) {
    const Rank& r = ranks_[static_cast<std::size_t>(rank)];
    if (r.row.state == State::kLost) {
      std::string because =
          fmt::format("it entered last: {}, and completed #{}", text_of(r.row.last), r.row.completed);
      for (int other = 0; other < size_; ++other) {
        const Row& waits = ranks_[static_cast<std::size_t>(other)].row;
        if (waits.state != State::kHere || waits.entered <= waits.completed) continue;
        because += fmt::format("; {} is in {}", named(other), text_of(waits.last));
        break;
      }
      return Fault{fmt::format("{} is gone: {}", named(rank), r.lost_why), because,
                   "look at the end of its log; the system's log tells of a process killed for memory"};
    }
    if (r.row.state != State::kLeft) continue;
    for (int other = 0; other < size_; ++other) {
      const Row& waits = ranks_[static_cast<std::size_t>(other)].row;
      if (waits.state != State::kHere || waits.entered <= r.row.entered) continue;
      return Fault{fmt::format("{} left the run, and {} waits for it in {}", named(rank), named(other),
                               text_of(waits.last)),
                   fmt::format("it entered last: {}", text_of(r.row.last)),
                   "look at the end of its log: it ended, or failed with an error of its own"};
    }
  }
  return std::nullopt;
}

}  // namespace rlcpp::dist
