#include "base/failpoint.h"

#include <signal.h>
#include <unistd.h>

#include <charconv>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <set>
#include <system_error>
#include <thread>
#include <utility>

#include "base/error.h"

namespace rlcpp::failpoint {
namespace {

struct Armed {
  std::string name;
  std::string action;  // without the argument
  std::int64_t milliseconds = 0;
  std::int64_t when = 1;  // 0: every hit
  std::int64_t hits = 0;
};

// The one table of the process: names come from static objects of many files, so it must exist before all of
// them.
struct Table {
  std::mutex mutex;
  std::set<std::string, std::less<>> names;
  std::vector<Armed> armed;
  std::int64_t generation = 0;  // raised by disarm_all(): releases those that hang
};

Table& table() {
  static Table instance;
  return instance;
}

std::int64_t number(std::string_view text, const std::string& specification, const char* what) {
  std::int64_t value = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (code != std::errc() || end != text.data() + text.size() || value < 0) {
    throw bad_input("fail point \"" + specification + "\": " + what + " \"" + std::string(text) +
                        "\" is not a number >= 0",
                    "", "use NAME=ACTION[:WHEN], for example durable.sync=error:3");
  }
  return value;
}

Armed parse(const std::string& specification) {
  const std::size_t equals = specification.find('=');
  if (equals == std::string::npos || equals == 0) {
    throw bad_input("fail point \"" + specification + "\" has no action", "",
                    "use NAME=ACTION[:WHEN] with kill, error, hang, delay(ms), nan, inf, spike or flip");
  }
  Armed armed;
  armed.name = specification.substr(0, equals);
  std::string action = specification.substr(equals + 1);
  if (const std::size_t colon = action.rfind(':'); colon != std::string::npos) {
    const std::string when = action.substr(colon + 1);
    armed.when = when == "*" ? 0 : number(when, specification, "the hit");
    if (when != "*" && armed.when == 0) {
      throw bad_input("fail point \"" + specification + "\": hits count from 1", "",
                      "use :1 for the first hit, :* for every one");
    }
    action.resize(colon);
  }
  if (action.starts_with("delay(") && action.ends_with(")")) {
    armed.milliseconds =
        number(std::string_view(action).substr(6, action.size() - 7), specification, "the delay");
    action = "delay";
  } else if (action != "kill" && action != "error" && action != "hang" && action != "nan" &&
             action != "inf" && action != "spike" && action != "flip") {
    throw bad_input("fail point \"" + specification + "\": unknown action \"" + action + "\"", "",
                    "use kill, error, hang, delay(ms), nan, inf, spike or flip");
  }
  armed.action = action;
  return armed;
}

void hang(std::int64_t generation) {
  for (;;) {
    {
      Table& t = table();
      const std::lock_guard lock(t.mutex);
      if (t.generation != generation) return;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

}  // namespace

namespace detail {

std::atomic<int> armed_count{0};

std::string_view act(std::string_view name) {
  std::string action;
  std::int64_t milliseconds = 0, at = 0, generation = 0;
  {
    Table& t = table();
    const std::lock_guard lock(t.mutex);
    RLCPP_CHECK(t.names.contains(name));  // a name that nobody can arm tests nothing
    for (Armed& armed : t.armed) {
      if (armed.name != name) continue;
      ++armed.hits;
      if (!action.empty() || (armed.when != 0 && armed.hits != armed.when)) continue;
      action = armed.action;
      milliseconds = armed.milliseconds;
      at = armed.hits;
      generation = t.generation;
    }
  }
  if (action.empty()) return {};
  if (action == "kill") {
    ::kill(::getpid(), SIGKILL);
    ::pause();
  }
  if (action == "error") {
    throw runtime_failure("fail point " + std::string(name) + " acted",
                          "it was armed with error, and this was hit " + std::to_string(at),
                          "this run was told to fail here: drop --fail");
  }
  if (action == "hang") hang(generation);
  if (action == "delay") std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
  for (const char* theirs : {"nan", "inf", "spike", "flip"}) {
    if (action == theirs) return theirs;
  }
  return {};
}

}  // namespace detail

Registration::Registration(std::initializer_list<const char*> names) {
  Table& t = table();
  const std::lock_guard lock(t.mutex);
  for (const char* name : names) t.names.emplace(name);
}

void arm(const std::string& specification) {
  Armed armed = parse(specification);
  Table& t = table();
  const std::lock_guard lock(t.mutex);
  if (!t.names.contains(armed.name)) {
    std::string known;
    for (const std::string& name : t.names) known += (known.empty() ? "" : ", ") + name;
    throw bad_input("there is no fail point \"" + armed.name + "\"", "", "the known ones are " + known);
  }
  t.armed.push_back(std::move(armed));
  detail::armed_count.store(static_cast<int>(t.armed.size()), std::memory_order_relaxed);
}

void disarm_all() {
  Table& t = table();
  const std::lock_guard lock(t.mutex);
  t.armed.clear();
  ++t.generation;
  detail::armed_count.store(0, std::memory_order_relaxed);
}

std::vector<std::string> names() {
  Table& t = table();
  const std::lock_guard lock(t.mutex);
  return {t.names.begin(), t.names.end()};
}

}  // namespace rlcpp::failpoint
