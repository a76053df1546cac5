#include "monitor/metrics.h"

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <random>
#include <thread>

#include "base/durable_fixture.h"
#include "base/durable_layers.h"
#include "base/error.h"
#include "base/failpoint.h"
#include "monitor/tensorboard.h"
#include "support.h"

namespace rlcpp::monitor {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;
using test::FastDirectory;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

std::vector<std::string> lines_of(const std::string& path) {
  std::ifstream file(path);
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  return lines;
}

std::vector<std::int64_t> steps_of(const std::string& run, const std::string& producer) {
  std::vector<std::int64_t> steps;
  for (const std::string& line : lines_of(run + "/metrics.jsonl")) {
    const Json row = Json::parse(line);
    if (row.value("producer", std::string()) == producer) steps.push_back(row["step"]);
  }
  return steps;
}

std::vector<std::string> event_files(const std::string& run) {
  std::vector<std::string> paths;
  for (const auto& entry : fs::directory_iterator(run + "/tensorboard"))
    paths.push_back(entry.path().string());
  std::sort(paths.begin(), paths.end());
  return paths;
}

// (step, tag, value) of all event files of a run.
std::vector<std::tuple<std::int64_t, std::string, float>> events_of(const std::string& run) {
  std::vector<std::tuple<std::int64_t, std::string, float>> events;
  for (const std::string& path : event_files(run)) {
    const std::string text = durable::read_file(path);
    std::size_t valid = 0;
    for (const auto& record : read_tensorboard(text, &valid)) {
      for (const auto& [tag, value] : record.event.scalars)
        events.emplace_back(record.event.step, tag, value);
    }
    EXPECT_EQ(valid, text.size()) << path;
  }
  return events;
}

Metrics one(const std::string& name, double value) {
  Metrics metrics;
  metrics.set(name, value);
  return metrics;
}

TEST(Metrics, KeepTheOrderInWhichNamesFirstCame) {
  Metrics metrics;
  metrics.set("loss/mean", 1);
  metrics.set("optim/lr", 2);
  metrics.set("loss/mean", 3);
  Metrics other = one("optim/lr", 4);
  other.set("time/step", 5);
  metrics.merge(other);
  const std::vector<std::pair<std::string, double>> expected = {
      {"loss/mean", 3}, {"optim/lr", 4}, {"time/step", 5}};
  EXPECT_EQ(metrics.items(), expected);
  EXPECT_EQ(metrics.get("optim/lr"), 4);
  EXPECT_EQ(metrics.get("absent", -1), -1);
  EXPECT_TRUE(metrics.has("time/step"));
  EXPECT_FALSE(metrics.has("absent"));
}

// Numbers of torch 2: x.mean(), x.median() (the lower middle), x.std() (divides by n - 1), x.min(), x.max().
TEST(Metrics, DistributionsAreThoseOfTorch) {
  Metrics metrics;
  metrics.set_distribution("entropy", {3, 1, 4, 1.5, 9, 2.5});
  EXPECT_DOUBLE_EQ(metrics.get("entropy/mean"), 3.5);
  EXPECT_DOUBLE_EQ(metrics.get("entropy/median"), 2.5);
  EXPECT_NEAR(metrics.get("entropy/std"), 2.898275349237888, 1e-12);
  EXPECT_DOUBLE_EQ(metrics.get("entropy/min"), 1);
  EXPECT_DOUBLE_EQ(metrics.get("entropy/max"), 9);
  EXPECT_EQ(metrics.items().size(), 5U);

  Metrics single;
  single.set_distribution("x", {2});
  EXPECT_EQ(single.get("x/median"), 2);
  EXPECT_EQ(single.get("x/std", -1), 0);
  Metrics none;
  none.set_distribution("x", {});
  EXPECT_TRUE(none.items().empty());
  Metrics spoiled;
  spoiled.set_distribution("x", {1, kNan, 0});
  for (const auto& [name, value] : spoiled.items()) EXPECT_TRUE(std::isnan(value)) << name;
  EXPECT_EQ(spoiled.items().size(), 5U);
}

TEST(MetricsWriter, WritesOneObjectAStep) {
  const FastDirectory run;
  MetricsWriter writer(run / "out", "trainer");
  Metrics metrics = one("loss/mean", 0.1);
  metrics.set("optim/grad_norm", kNan);
  metrics.set("optim/lr", kInfinity);
  metrics.set("step", 77);  // the line has its own
  metrics.set("progress/total_tokens", 123456789);
  writer.write(12, metrics);
  writer.flush();
  const auto lines = lines_of(run / "out/metrics.jsonl");
  ASSERT_EQ(lines.size(), 1U);
  EXPECT_TRUE(lines[0].starts_with("{\"step\":12,\"time\":")) << lines[0];
  EXPECT_TRUE(lines[0].ends_with(
      ",\"producer\":\"trainer\",\"loss/mean\":0.1,\"optim/grad_norm\":null,\"optim/lr\":null,"
      "\"progress/total_tokens\":123456789.0}"))
      << lines[0];
  const auto events = events_of(run / "out");
  ASSERT_EQ(events.size(), 4U);
  EXPECT_EQ(events[0], std::make_tuple(std::int64_t{12}, std::string("loss/mean"), 0.1F));
  EXPECT_TRUE(std::isnan(std::get<2>(events[1])));
  EXPECT_EQ(std::get<2>(events[2]), std::numeric_limits<float>::infinity());
}

TEST(MetricsWriter, NumbersComeBackToTheLastBit) {
  const FastDirectory run;
  std::mt19937_64 random(test::fresh_seed());
  std::vector<double> values;
  Metrics metrics;
  for (int i = 0; i < 500; ++i) {
    double value = std::bit_cast<double>(random());
    if (!std::isfinite(value)) value = i;
    values.push_back(value);
    metrics.set("m/" + std::to_string(i), value);
  }
  MetricsWriter writer(run.path(), "");
  writer.write(0, metrics);
  const Json row = Json::parse(lines_of(run / "metrics.jsonl").at(0));
  EXPECT_FALSE(row.contains("producer"));
  for (std::size_t i = 0; i < values.size(); ++i) {
    EXPECT_EQ(row["m/" + std::to_string(i)].get<double>(), values[i]);
  }
}

TEST(MetricsWriter, AResumedRunHasOneLineAStepAndProducer) {
  const FastDirectory run;
  {
    MetricsWriter trainer(run.path(), "trainer"), orchestrator(run.path(), "orchestrator");
    for (int step = 0; step < 8; ++step) {
      trainer.write(step, one("loss/mean", step));
      orchestrator.write(step, one("reward/mean", step));
    }
  }
  {
    std::ofstream torn(run / "metrics.jsonl", std::ios::app);
    torn << "{\"step\":8,\"time\":1.5,\"produ";
  }
  MetricsWriter trainer(run.path(), "trainer", 5), orchestrator(run.path(), "orchestrator", 5);
  EXPECT_EQ(steps_of(run.path(), "trainer"), (std::vector<std::int64_t>{0, 1, 2, 3, 4}));
  EXPECT_EQ(steps_of(run.path(), "orchestrator"), (std::vector<std::int64_t>{0, 1, 2, 3, 4}));
  // Both write on, although the second writer replaced the file that the first one had found.
  for (int step = 5; step < 7; ++step) {
    trainer.write(step, one("loss/mean", 100 + step));
    orchestrator.write(step, one("reward/mean", 100 + step));
  }
  EXPECT_EQ(steps_of(run.path(), "trainer"), (std::vector<std::int64_t>{0, 1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(steps_of(run.path(), "orchestrator"), (std::vector<std::int64_t>{0, 1, 2, 3, 4, 5, 6}));

  std::map<std::pair<std::string, std::int64_t>, std::vector<float>> curves;
  for (const auto& [step, tag, value] : events_of(run.path())) curves[{tag, step}].push_back(value);
  EXPECT_EQ(curves.size(), 14U);
  for (const auto& [key, values] : curves) {
    ASSERT_EQ(values.size(), 1U) << key.first << " at step " << key.second;
    EXPECT_EQ(values[0], static_cast<float>(key.second < 5 ? key.second : 100 + key.second));
  }
}

TEST(MetricsWriter, AFreshStartInAUsedDirectoryDropsItsOwnLinesOnly) {
  const FastDirectory run;
  MetricsWriter(run.path(), "trainer").write(3, one("a", 1));
  MetricsWriter(run.path(), "eval").write(3, one("b", 1));
  const MetricsWriter again(run.path(), "trainer");
  EXPECT_TRUE(steps_of(run.path(), "trainer").empty());
  EXPECT_EQ(steps_of(run.path(), "eval").size(), 1U);
}

// The Nth call of the file layer fails: the message names the file, and what is on disk can be read and
// continued.
TEST(MetricsWriter, AFullDiskIsAClearErrorAndRoomLetsItGoOn) {
  int nth = 1;
  for (bool clean = false; !clean; ++nth) {
    ASSERT_LT(nth, 100);
    const FastDirectory run;
    { MetricsWriter(run / "out", "trainer").write(0, one("a", 0.5)); }
    test::FaultyFiles files(nth, ENOSPC, false);
    int errors = 0;
    std::unique_ptr<MetricsWriter> writer;
    const auto attempt = [&](auto call) {
      try {
        call();
        return true;
      } catch (const Error& error) {
        ++errors;
        EXPECT_EQ(error.code(), ExitCode::kEnvironment);
        EXPECT_NE(std::string(error.what()).find(run / "out"), std::string::npos) << error.what();
        EXPECT_NE(error.because().find("No space left"), std::string::npos);
        return false;
      }
    };
    if (!attempt([&] { writer = std::make_unique<MetricsWriter>(files, run / "out", "trainer", 1); })) {
      writer = std::make_unique<MetricsWriter>(files, run / "out", "trainer", 1);
    }
    std::set<std::int64_t> whole = {0};
    for (int step = 1; step < 5; ++step) {
      if (attempt([&] { writer->write(step, one("a", step)); })) whole.insert(step);
    }
    attempt([&] { writer->flush(); });
    clean = files.failures() == 0;
    EXPECT_EQ(errors, files.failures());
    std::set<std::int64_t> found;
    for (const std::string& line : lines_of(run / "out/metrics.jsonl")) {
      const auto row = nlohmann::json::parse(line, nullptr, false);
      if (row.is_object()) found.insert(row["step"].get<std::int64_t>());
    }
    std::set<std::int64_t> events;
    for (const std::string& path : event_files(run / "out")) {
      const std::string text = durable::read_file(path);  // read_tensorboard() looks into it
      for (const auto& record : read_tensorboard(text)) {
        if (!record.event.scalars.empty()) events.insert(record.event.step);
      }
    }
    for (const std::int64_t step : whole) {
      EXPECT_TRUE(found.contains(step)) << step << " after " << files.failed_call();
      EXPECT_TRUE(events.contains(step)) << step << " after " << files.failed_call();
    }
  }
  EXPECT_GT(nth, 10);
}

// kill -9 before each call and in the middle of each write, then a resume: one line and one event a step,
// none lost.
TEST(MetricsWriter, AKilledRunIsContinuedWithoutGapsOrRepetitions) {
  for (const std::string point : {"durable.call", "durable.write.half"}) {
    int nth = 1;
    for (bool clean = false; !clean; ++nth) {
      ASSERT_LT(nth, 100);
      const FastDirectory run;
      {
        MetricsWriter writer(run.path(), "trainer");
        for (int step = 0; step < 4; ++step) writer.write(step, one("a", step));
      }
      const pid_t child = fork();
      if (child == 0) {
        try {
          failpoint::arm(point + "=kill:" + std::to_string(nth));
          MetricsWriter writer(run.path(), "trainer", 2);
          for (int step = 2; step < 5; ++step) writer.write(step, one("a", 10 + step));
          _exit(0);
        } catch (...) {
          _exit(9);
        }
      }
      int status = 0;
      ASSERT_EQ(waitpid(child, &status, 0), child);
      clean = WIFEXITED(status);
      if (clean) {
        EXPECT_EQ(WEXITSTATUS(status), 0);
      }
      MetricsWriter writer(run.path(), "trainer", 2);
      for (int step = 2; step < 5; ++step) writer.write(step, one("a", 20 + step));
      EXPECT_EQ(steps_of(run.path(), "trainer"), (std::vector<std::int64_t>{0, 1, 2, 3, 4})) << point << nth;
      std::vector<float> values;
      for (const auto& [step, tag, value] : events_of(run.path())) values.push_back(value);
      std::sort(values.begin(), values.end());
      EXPECT_EQ(values, (std::vector<float>{0, 1, 22, 23, 24})) << point << nth;
    }
    EXPECT_GT(nth, 3);
  }
}

TEST(MetricsWriter, IsSafeBetweenThreads) {
  const FastDirectory run;
  MetricsWriter writer(run.path(), "trainer");
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 50; ++i) writer.write(t * 50 + i, one("m", i));
    });
  }
  for (auto& thread : threads) thread.join();
  const auto steps = steps_of(run.path(), "trainer");
  EXPECT_EQ(std::set<std::int64_t>(steps.begin(), steps.end()).size(), 200U);
  EXPECT_EQ(events_of(run.path()).size(), 200U);
}

}  // namespace
}  // namespace rlcpp::monitor
