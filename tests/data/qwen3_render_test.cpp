// The genuine Qwen3 template and tokenizer, against transformers (tools/oracle_render.py).
#include <fstream>

#include "data/render.h"
#include "data_path.h"
#include "support.h"
#include "tokenizer/qwen3.h"

namespace rlcpp::data {
namespace {

TEST(Qwen3Render, IdsAndMasksEqualTransformers) {
  using Json = nlohmann::ordered_json;
  const auto cases = Json::parse(std::ifstream(test::data_path("data/qwen3_render.json")));
  const auto config = Json::parse(std::ifstream(test::data_path("tokenizer/qwen3/tokenizer_config.json")));
  const Renderer renderer(test::qwen3(), config["chat_template"].get<std::string>(), {});
  ASSERT_EQ(cases.size(), 40U);
  std::size_t split = 0;
  for (const auto& c : cases) {
    const Rendered r = renderer.render(parse_row(c["row"].dump(), "golden:1"));
    ASSERT_EQ(r.samples.size(), c["samples"].size()) << c["row"].dump();
    split += r.samples.size() > 1 ? 1 : 0;
    for (std::size_t i = 0; i < r.samples.size(); ++i) {
      EXPECT_EQ(r.samples[i].ids, c["samples"][i]["ids"].get<std::vector<std::int32_t>>()) << c["row"].dump();
      std::vector<std::size_t> trained;
      for (std::size_t t = 0; t < r.samples[i].mask.size(); ++t) {
        if (r.samples[i].mask[t] != 0) trained.push_back(t);
      }
      EXPECT_EQ(trained, c["samples"][i]["trained"].get<std::vector<std::size_t>>()) << c["row"].dump();
    }
  }
  EXPECT_GT(split, 5U);  // the template's rewriting of earlier turns was met
}

}  // namespace
}  // namespace rlcpp::data
