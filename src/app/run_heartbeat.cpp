#include "app/run_heartbeat.h"

#include <fmt/format.h>

#include "base/error.h"
#include "hub/curl_library.h"
#include "hub/http.h"

namespace rlcpp::app {

Heartbeat::Heartbeat(std::string url, Logger& log) : url_(std::move(url)), log_(log) {
  hub::CurlLibrary::get();  // missing: said before the first step, and not by the thread
  thread_ = std::thread([this] { work(); });
}

Heartbeat::~Heartbeat() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

void Heartbeat::beat() {
  {
    const std::lock_guard lock(mutex_);
    due_ = true;
  }
  wake_.notify_one();
}

void Heartbeat::work() {
  bool failing = false;
  std::unique_lock lock(mutex_);
  while (true) {
    wake_.wait(lock, [this] { return due_ || stop_; });
    if (!due_) return;
    due_ = false;
    lock.unlock();
    hub::HttpRequest request;
    request.url = url_;
    request.connect_limit = request.stall_limit = std::chrono::seconds(1);
    std::string body, why;
    try {
      const hub::HttpResponse response = hub::http_text(request, body, std::size_t{1} << 20);
      if (!response.complete()) {
        why = response.failure;
      } else if (response.status >= 400) {
        why = fmt::format("it answers {}", response.status);
      }
    } catch (const Error& e) {
      why = e.what();
    }
    // One line when it begins to fail and one when it is well again: a run of days must not fill its log.
    if (!why.empty() && !failing)
      log_.warn(fmt::format("no heartbeat at {}: {}; it is tried again after every step", url_, why));
    if (why.empty() && failing) log_.info(fmt::format("heartbeat at {} again", url_));
    failing = !why.empty();
    lock.lock();
  }
}

}  // namespace rlcpp::app
