// A small HTTP server for what watches a run: /metrics for Prometheus, /health.
#pragma once

#include <atomic>
#include <mutex>
#include <string>
#include <thread>

#include "dist/connection.h"

namespace rlcpp::app {

class MetricsServer {
 public:
  // Listens at once; a thread answers one request after the other, each within a second. Throws
  // environment_error if the port is taken.
  MetricsServer(const std::string& host, int port);
  ~MetricsServer();
  int port() const { return port_; }
  // What /metrics answers from now on.
  void publish(std::string page);

 private:
  void serve();
  void answer(int client);

  dist::Socket listener_;
  int port_ = 0;
  std::mutex mutex_;
  std::string page_;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

}  // namespace rlcpp::app
