// Waits have owners. Every blocking wait is a Wait object on the stack: who is awaited, for what, since when, how far it
// got, and when to give up. A watchdog thread prints those over their soft limit and ends the process at the hard one.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <string>
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
  // Throws runtime_failure saying who was awaited and for how long, once the hard limit has passed. Polling waits call it.
  void check() const;
  bool over_soft() const;
  std::string text() const;  // "waiting 61 s for ... "

 private:
  friend std::vector<std::string> current_waits();
  std::string who_, what_;
  std::chrono::milliseconds soft_, hard_;
  std::atomic<std::int64_t> last_progress_ms_;
};

// One line for each wait now registered, the longest first.
std::vector<std::string> current_waits();

}  // namespace rlcpp
