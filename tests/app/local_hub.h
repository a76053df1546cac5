// A hub on this machine, which the runs of a test ask, and a cache of its own.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>

#include "hub/hub_server.h"
#include "support.h"

namespace rlcpp::test {

class LocalHub : public ::testing::Test {
 protected:
  LocalHub() {
    setenv("HF_HUB_OFFLINE", "0", 1);
    setenv("HF_ENDPOINT", server_.url().c_str(), 1);
    setenv("HF_HOME", (dir_ / "hf").c_str(), 1);
    unsetenv("HF_HUB_CACHE");
    unsetenv("HF_TOKEN");
  }
  ~LocalHub() override {
    setenv("HF_HUB_OFFLINE", "1", 1);
    unsetenv("HF_ENDPOINT");
    unsetenv("HF_HOME");
    unsetenv("HF_TOKEN");
  }
  const TemporaryDirectory dir_;
  HubServer server_;
};

}  // namespace rlcpp::test
