// Waits have owners. Every blocking wait is a Wait object on the stack: who is awaited, for what, since when,
// how far it got, and when to give up. A watchdog thread prints those over their soft limit and ends the
// process at the hard one.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace rlcpp {

class Wait {
 public:
  // who: "environment reverse-text"; what: "score of group 12". Limits count from the last progress().
  Wait(std::string who, std::string what, std::chrono::milliseconds soft, std::chrono::milliseconds hard);
  ~Wait();
  Wait(const Wait&) = delete;
  Wait& operator=(const Wait&) = delete;

  void progress();
  // Throws runtime_failure saying who was awaited and for how long, once the hard limit has passed. Polling
  // waits call it.
  void check() const;
  bool over_soft() const;
  std::string text() const;  // "waiting 61 s for ... "

 private:
  friend std::vector<std::string> current_waits();
  friend class Watchdog;
  std::int64_t waited_ms() const;
  std::string who_, what_;
  std::chrono::milliseconds soft_, hard_;
  std::int64_t id_ = 0;
  std::atomic<std::int64_t> last_progress_ms_;
};

// One line for each wait now registered, the longest first.
std::vector<std::string> current_waits();

// Replaces the monotonic clock of all waits (milliseconds); nullptr brings it back. For tests.
void set_wait_clock(std::int64_t (*now_ms)());

// Looks at all waits once a second. Over the soft limit: `line` gets the text of the wait, again after each
// doubling of the time. Over the hard limit plus `grace` (in which a polling wait ends itself through
// check()): `hard` gets the texts of all waits, the guilty one first, once a wait.
class Watchdog {
 public:
  struct Options {
    std::chrono::milliseconds period{1000};
    std::chrono::milliseconds grace{15000};
    std::function<void(std::string_view)> line;                 // default: a line on stderr
    std::function<void(const std::vector<std::string>&)> hard;  // default: all texts on stderr, then _exit(1)
  };
  Watchdog();
  explicit Watchdog(Options options);
  ~Watchdog();
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

  // One round now, on the calling thread; what the thread does each period.
  void look();

 private:
  struct Seen {
    std::int64_t last_progress_ms = 0;
    std::int64_t next_line_ms = 0;  // time waited at which to speak again
    bool ended = false;
  };
  Options options_;
  std::map<std::int64_t, Seen> seen_;  // by id of the wait
  std::mutex look_mutex_;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace rlcpp
