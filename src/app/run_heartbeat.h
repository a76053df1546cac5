// A sign of life: an address that is asked for after every step.
#pragma once

#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>

#include "base/log.h"

namespace rlcpp::app {

class Heartbeat {
 public:
  // Throws environment_error if there is no libcurl. `log` outlives it.
  Heartbeat(std::string url, Logger& log);
  // Ends after the request under way, a second at most without an answer.
  ~Heartbeat();
  // Returns at once. While a request is under way, further beats become one.
  void beat();

 private:
  void work();

  std::string url_;
  Logger& log_;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool due_ = false, stop_ = false;
  std::thread thread_;
};

}  // namespace rlcpp::app
