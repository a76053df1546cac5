// What watches a run from outside: Weights & Biases, a heartbeat, Prometheus, a trace, its memory.
#include <regex>

#include "hub/http.h"
#include "hub/hub_server.h"
#include "sft_run.h"

namespace rlcpp::test {
namespace {

using nlohmann::json;

class Watch : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { world_ = new SftWorld; }
  static void TearDownTestSuite() {
    delete world_;
    world_ = nullptr;
  }
  ~Watch() override { unsetenv("PYTHONPATH"); }

  // A package wandb that writes what it is told to <dir>/wandb.jsonl.
  static void fake_wandb(const std::string& dir, const std::string& text) {
    world_->file(dir + "/wandb.py", text);
    setenv("PYTHONPATH", (*world_ / dir).c_str(), 1);
  }
  static constexpr const char* kRecorder = R"(
import json, os
def note(**what):
    with open(os.path.join(os.path.dirname(__file__), "told.jsonl"), "a") as file:
        file.write(json.dumps(what) + "\n")
class Run:
    id = "id7"
    url = "http://wandb.example/id7"
    def log(self, values, step): note(log=values, step=step)
    def finish(self, exit_code): note(finish=exit_code)
def init(**options):
    note(init=options)
    return Run()
)";

  static SftWorld* world_;
};
SftWorld* Watch::world_ = nullptr;

TEST_F(Watch, WandbIsToldEveryStepTheConfigurationAndTheEnd) {
  fake_wandb("fake", kRecorder);
  const auto o = world_->run(world_->sft(
      "run", {"--wandb.project", "p", "--wandb.name", "n", "--wandb.offline", "--ckpt.interval", "3"}));
  ASSERT_EQ(o.code, 0) << o.err;
  expect_has(o.err, {"wandb: http://wandb.example/id7"});
  const std::vector<json> told = world_->lines("fake/told.jsonl");
  ASSERT_EQ(told.size(), 8U);
  const json& init = told[0]["init"];
  EXPECT_EQ(init["project"], "p");
  EXPECT_EQ(init["name"], "n");
  EXPECT_EQ(init["mode"], "offline");
  EXPECT_EQ(init["config"]["optim"]["lr"], 1e-2);
  const std::vector<json> lines = world_->metrics("run");
  for (std::size_t i = 0; i < 6; ++i) {
    EXPECT_EQ(told[i + 1]["step"], i + 1);
    EXPECT_EQ(told[i + 1]["log"]["loss/mean"], lines[i]["loss/mean"]);
  }
  EXPECT_EQ(told[7]["finish"], 0);

  // A resumed run goes on under the same id, and sends only what is new.
  const auto more = world_->run(
      world_->sft("run", {"--wandb.project", "p", "--wandb.name", "n", "--wandb.offline", "--ckpt.interval",
                          "3", "--ckpt.resume-step", "-1", "--max-steps", "8"}));
  ASSERT_EQ(more.code, 0) << more.err;
  const std::vector<json> all = world_->lines("fake/told.jsonl");
  ASSERT_EQ(all.size(), 12U);
  EXPECT_EQ(all[8]["init"]["id"], "id7");
  EXPECT_EQ(all[9]["step"], 7);
  EXPECT_EQ(all[10]["step"], 8);
}

TEST_F(Watch, WithoutTheWandbPackageTheRunGoesOnAndSaysSoOnce) {
  fake_wandb("none", "raise ImportError(\"No module named 'wandb'\")\n");
  const auto o = world_->run(world_->sft("without", {"--wandb.project", "p"}));
  ASSERT_EQ(o.code, 0) << o.err;
  const std::string said = "nothing is sent to Weights & Biases: No module named 'wandb'";
  expect_has(o.err, {said, "metrics.jsonl has everything"});
  EXPECT_EQ(o.err.find(said), o.err.rfind(said));
  EXPECT_EQ(world_->metrics("without").size(), 6U);
}

TEST_F(Watch, WithoutPythonTheRunGoesOn) {
  const auto o =
      world_->run(world_->sft("nopython", {"--wandb.project", "p", "--wandb.python", "/nowhere/python3"}));
  ASSERT_EQ(o.code, 0) << o.err;
  expect_has(o.err, {"wandb.python = \"/nowhere/python3\" cannot be started"});
}

// The relay is killed by what it calls: the run does not notice.
TEST_F(Watch, ARelayThatDiesDoesNotEndTheRun) {
  std::string text = kRecorder;
  text += "Run.log = lambda self, values, step: os._exit(9)\n";
  fake_wandb("dies", text);
  const auto o = world_->run(world_->sft("dying", {"--wandb.offline"}));
  ASSERT_EQ(o.code, 0) << o.err;
  EXPECT_EQ(world_->metrics("dying").size(), 6U);
}

TEST_F(Watch, HeartbeatAsksItsAddressAfterSteps) {
  HubServer server;
  server.file("org/beat", "alive", "yes");
  const std::string url = server.url() + "/org/beat/resolve/" + HubServer::kCommit + "/alive";
  const auto o = world_->run(world_->sft("beating", {"--heartbeat.url", url}));
  ASSERT_EQ(o.code, 0) << o.err;
  EXPECT_GE(server.count("/alive"), 1);
  EXPECT_LE(server.count("/alive"), 6);
  EXPECT_EQ(o.err.find("no heartbeat"), std::string::npos) << o.err;
}

TEST_F(Watch, AHeartbeatThatNobodyHearsIsSaidOnce) {
  const auto o = world_->run(world_->sft("unheard", {"--heartbeat.url", "http://127.0.0.1:1/beat"}));
  ASSERT_EQ(o.code, 0) << o.err;
  const std::string said = "no heartbeat at http://127.0.0.1:1/beat";
  expect_has(o.err, {said});
  EXPECT_EQ(o.err.find(said), o.err.rfind(said));
}

TEST_F(Watch, PrometheusReadsTheGaugesWhileTheRunRuns) {
  const pid_t pid =
      world_->start(world_->sft("gauges", {"--metrics-server.port", "0", "--metrics-server.host", "127.0.0.1",
                                           "--max-steps", "100000"}),
                    *world_ / "gauges.out", *world_ / "gauges.err");
  std::smatch found;
  std::string log, page;
  hub::HttpRequest request;
  for (int i = 0; i < 1000 && page.find("trainer_loss") == std::string::npos; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    log = slurp(*world_ / "gauges.err");
    if (!std::regex_search(log, found, std::regex("gauges at (http://127.0.0.1:[0-9]+)/metrics"))) continue;
    request.url = found[1].str() + "/metrics";
    hub::http_text(request, page, 1 << 20);
  }
  const std::string base = found.empty() ? "" : found[1].str();
  std::string health, other;
  request.url = base + "/health";
  EXPECT_EQ(hub::http_text(request, health, 1 << 20).status, 200);
  request.url = base + "/nothing";
  EXPECT_EQ(hub::http_text(request, other, 1 << 20).status, 404);
  kill(pid, SIGTERM);
  EXPECT_EQ(World::wait_for(pid), 143);
  for (const char* gauge : {"trainer_step", "trainer_loss", "trainer_throughput_tokens_per_sec",
                            "trainer_last_step_timestamp_seconds", "trainer_grad_norm",
                            "trainer_peak_memory_gib", "trainer_learning_rate"}) {
    const std::regex line(std::string("# TYPE ") + gauge + " gauge\n" + gauge + " [-+.e0-9]+\n");
    EXPECT_TRUE(std::regex_search(page, line)) << gauge << " in\n" << page;
  }
  EXPECT_EQ(health, "ok\n");
}

TEST_F(Watch, ATakenPortIsSaidBeforeTheFirstStep) {
  HubServer server;  // holds a port
  const std::string port = server.url().substr(server.url().rfind(':') + 1);
  const auto o = world_->run(
      world_->sft("taken", {"--metrics-server.port", port, "--metrics-server.host", "127.0.0.1"}));
  EXPECT_EQ(o.code, 3) << o.err;
  expect_has(o.err, {"the metrics server cannot listen on 127.0.0.1:" + port, "metrics_server.port"});
  EXPECT_EQ(o.err.find("step 1"), std::string::npos);
}

TEST_F(Watch, TraceAndMemoryProfileAreWhole) {
  const auto o = world_->run(world_->sft(
      "traced", {"--trace-path", *world_ / "trace", "--memory-profiler-path", *world_ / "memory"}));
  ASSERT_EQ(o.code, 0) << o.err;
  // What is offered as the next command is a longer run, which a trace is not of.
  expect_has(o.out, {"--ckpt.resume-step -1 --max-steps"});
  EXPECT_EQ(o.out.find("--trace-path"), std::string::npos) << o.out;
  const json trace = json::parse(slurp(*world_ / "trace/trace_0.json"));
  int steps = 0, inside = 0;
  double last_end = 0;
  std::map<std::string, std::pair<double, double>> span;
  for (const json& event : trace["traceEvents"]) {
    if (event["ph"] != "X") continue;
    const double begin = event["ts"], end = begin + event["dur"].get<double>();
    if (event["tid"] == 0) {
      EXPECT_EQ(event["name"], "step " + std::to_string(++steps));
      EXPECT_GE(begin, last_end);
      last_end = end;
      span["step"] = {begin, end};
    } else {
      ++inside;
      EXPECT_GE(begin, span["step"].first - 1);
      EXPECT_LE(end, span["step"].second + 1);
    }
  }
  EXPECT_EQ(steps, 6);
  EXPECT_EQ(inside, 12);

  const json plan = json::parse(slurp(*world_ / "memory/plan.json"));
  std::size_t top = 0;
  bool named = false;
  for (const json& region : plan["regions"]) {
    top = std::max(top, region["offset"].get<std::size_t>() + region["bytes"].get<std::size_t>());
    named = named || region["name"].get<std::string>().starts_with("gradient.");
  }
  EXPECT_TRUE(named);
  EXPECT_LE(top, plan["device_bytes"].get<std::size_t>());
  EXPECT_GT(2 * top, plan["device_bytes"].get<std::size_t>());
  const std::vector<json> usage = world_->lines("memory/usage.jsonl");
  ASSERT_EQ(usage.size(), 6U);
  EXPECT_EQ(usage[5]["planned_bytes"], plan["device_bytes"]);
  EXPECT_GT(usage[5]["resident_bytes"], 1 << 20);
}

TEST_F(Watch, WhatCannotWorkIsRefusedFirst) {
  world_->expect_refused(world_->sft("no", {"--trace-path", *world_ / "t", "--max-steps", "10"}), "no",
                         {"trace_path needs max_steps below 10"});
  world_->expect_refused(world_->sft("no", {"--heartbeat.url", "monitor.example"}), "no",
                         {"heartbeat.url = \"monitor.example\" is no address"});
  world_->expect_refused(world_->sft("no", {"--heartbeat"}), "no", {"heartbeat.url is not set"});
}

}  // namespace
}  // namespace rlcpp::test
