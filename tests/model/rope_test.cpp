// Every rope kind against transformers (tools/oracle_models.py), for shapes of real models.
#include <fstream>
#include <nlohmann/json.hpp>

#include "data_path.h"
#include "model/decoder.h"
#include "support.h"

namespace rlcpp::model {
namespace {

using nlohmann::json;

std::vector<json> golden_cases() {
  std::ifstream file(test::data_path("model/rope.json"));
  return json::parse(file).at("cases").get<std::vector<json>>();
}

TEST(Rope, InverseFrequenciesAgreeWithTransformers) {
  const std::vector<json> cases = golden_cases();
  ASSERT_EQ(cases.size(), 7U);
  for (const json& entry : cases) {
    SCOPED_TRACE(entry["name"].get<std::string>());
    const ModelConfig config = parse_config(entry["config"].dump(), "m");
    const std::vector<float> mine = inverse_frequencies(config);
    ASSERT_EQ(mine.size(), entry["inv_freq"].size());
    for (std::size_t i = 0; i < mine.size(); ++i) {
      const double wanted = entry["inv_freq"][i];
      EXPECT_NEAR(mine[i], wanted, 1.2e-7 * wanted) << i;  // one unit in the last place of f32
    }
    EXPECT_NEAR(attention_factor(config.rope), entry["attention_factor"].get<double>(), 1e-7);
  }
}

TEST(Rope, TablesAgreeWithTransformersAtFarPositions) {
  for (const json& entry : golden_cases()) {
    SCOPED_TRACE(entry["name"].get<std::string>());
    const ModelConfig config = parse_config(entry["config"].dump(), "m");
    const auto positions = entry["positions"].get<std::vector<std::int64_t>>();
    MemoryPlan plan;
    const RopeRegions regions = plan_rope(config, plan, positions.back() + 1);
    const Arena arena(std::move(plan), Device{});
    const RopeTables tables = make_rope(config, arena, regions);
    const std::int64_t half = config.head_dim / 2;
    for (std::size_t p = 0; p < positions.size(); ++p) {
      for (std::int64_t i = 0; i < half; i += 4) {
        const std::int64_t at = positions[p] * half + i;
        const auto golden = static_cast<std::size_t>(i / 4);
        // The same f32 angle, and cos and sin to a unit in the last place of about one.
        EXPECT_NEAR(tables.cos.f32()[at], entry["cos_every_4th"][p][golden].get<double>(), 2e-7)
            << positions[p];
        EXPECT_NEAR(tables.sin.f32()[at], entry["sin_every_4th"][p][golden].get<double>(), 2e-7)
            << positions[p];
      }
    }
  }
}

}  // namespace
}  // namespace rlcpp::model
