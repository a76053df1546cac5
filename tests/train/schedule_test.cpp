#include "train/schedule.h"

#include <fstream>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "data_path.h"
#include "support.h"

namespace rlcpp::train {
namespace {

TEST(Schedule, EqualsTorchStepByStep) {
  // tools/oracle_schedules.py. Torch multiplies its way from step to step, so it carries a few roundings
  // more.
  std::ifstream file(test::data_path("train/schedules.json"));
  const auto cases = nlohmann::json::parse(file);
  ASSERT_EQ(cases.size(), 10U);
  for (const auto& c : cases) {
    SchedulerConfig config;
    config.type = c["type"];
    config.warmup_steps = c["warmup_steps"];
    config.decay_steps = c["decay_steps"];
    config.min_lr = c["min_lr"];
    const double lr = c["lr"];
    const std::int64_t steps = c["max_steps"];
    validate_schedule(config, lr, steps);
    const auto rates = c["rates"].get<std::vector<double>>();
    for (std::int64_t s = 0; s < steps; ++s) {
      const double expected = rates[static_cast<std::size_t>(s)];
      EXPECT_NEAR(learning_rate(config, lr, s, steps), expected, 1e-9 * expected + 1e-18)
          << c.dump() << " step " << s;
    }
  }
}

TEST(Schedule, StaysAtTheFloorBehindTheEnd) {
  SchedulerConfig linear{"linear", 2, 4, 1e-4};
  SchedulerConfig cosine{"cosine", 2, 0, 1e-4};
  for (std::int64_t s = 10; s < 15; ++s) {
    EXPECT_NEAR(learning_rate(linear, 1e-3, s, 10), 1e-4, 1e-15);
    EXPECT_NEAR(learning_rate(cosine, 1e-3, s, 10), 1e-4, 1e-15);
  }
  EXPECT_EQ(learning_rate({"linear", 0, 1, 0}, 1e-3, 9, 10), 1e-3);  // one step of decay has no increment
  EXPECT_EQ(learning_rate({"constant", 10, 10, 0}, 0.0, 3, -1), 0.0);
}

TEST(Schedule, RefusesPhasesThatDoNotFit) {
  const auto refused = [](const SchedulerConfig& c, double lr, std::int64_t max_steps) {
    try {
      validate_schedule(c, lr, max_steps);
      return false;
    } catch (const Error& e) {
      return e.code() == ExitCode::kBadInput && !e.help().empty();
    }
  };
  EXPECT_TRUE(refused({"linear", 5, 6, 0}, 1e-3, 10));
  EXPECT_TRUE(refused({"linear", 5, 6, 0}, 1e-3, -1));
  EXPECT_TRUE(refused({"linear", 0, 0, 0}, 1e-3, 10));
  EXPECT_TRUE(refused({"cosine", 5, 0, 0}, 1e-3, -1));
  EXPECT_TRUE(refused({"cosine", 11, 0, 0}, 1e-3, 10));
  EXPECT_TRUE(refused({"constant", 0, 0, 1e-2}, 1e-3, 10));
  EXPECT_FALSE(refused({"linear", 5, 0, 0}, 1e-3, -1));
  EXPECT_FALSE(refused({"constant", 50, 60, 0}, 1e-3, -1));
  EXPECT_FALSE(refused({"linear", 4, 6, 0}, 1e-3, 10));
}

}  // namespace
}  // namespace rlcpp::train
