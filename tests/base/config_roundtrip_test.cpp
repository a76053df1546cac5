#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "base/rng.h"
#include "config_sample.h"

namespace rlcpp::test {
namespace {

// Random values of every kind, with the awkward ones often: quotes, control characters, extremes of the
// number types.
class Maker {
 public:
  explicit Maker(std::uint64_t seed) : rng_(seed) {}

  bool coin() { return rng_.below(2) == 0; }

  std::string text() {
    static const std::vector<std::string> kPieces = {
        "a", "Z9", " ", "\"", "\\", "\n",   "\t",   "\r",   "'",      "#",
        "=", "[",  "]", ",",  ".",  "\x01", "\x1b", "\x7f", "é",      "日本",
        "😀", "{",  "}", "\b", "/",  "-",    "_",    "\\n",  "\"\"\"", "\xc2\x85"};
    std::string out;
    for (std::uint64_t n = rng_.below(8); n > 0; --n) out += kPieces[rng_.below(kPieces.size())];
    return out;
  }

  std::int64_t integer() {
    switch (rng_.below(4)) {
      case 0:
        return std::numeric_limits<std::int64_t>::min() + static_cast<std::int64_t>(rng_.below(2));
      case 1:
        return std::numeric_limits<std::int64_t>::max() - static_cast<std::int64_t>(rng_.below(2));
      case 2:
        return static_cast<std::int64_t>(rng_.next_u64());
      default:
        return static_cast<std::int64_t>(rng_.below(2000)) - 1000;
    }
  }

  // Any finite double, by its bits.
  double real() {
    for (;;) {
      const std::uint64_t bits = rng_.next_u64();
      double value = 0;
      std::memcpy(&value, &bits, sizeof(value));
      if (coin()) value = std::round(rng_.uniform_double() * 1000);
      if (std::isfinite(value)) return value;
    }
  }
  double positive() { return std::abs(real()) + std::numeric_limits<double>::min(); }
  float positive_float() {
    for (;;) {
      const std::uint32_t bits = rng_.next_u32() & 0x7fffffffU;
      float value = 0;
      std::memcpy(&value, &bits, sizeof(value));
      if (std::isfinite(value)) return value;
    }
  }
  int count() { return static_cast<int>(rng_.below(std::numeric_limits<int>::max())) + 1; }

  nlohmann::json json(int depth) {
    switch (rng_.below(depth > 0 ? 8 : 5)) {
      case 0:
        return nullptr;
      case 1:
        return coin();
      case 2:
        return integer();
      case 3:
        return real();
      case 4:
        return plain_text();
      case 5: {
        nlohmann::json list = nlohmann::json::array();
        for (std::uint64_t n = rng_.below(4); n > 0; --n) list.push_back(json(depth - 1));
        return list;
      }
      default:
        return table(depth - 1);
    }
  }
  nlohmann::json table(int depth) {
    nlohmann::json out = nlohmann::json::object();
    for (std::uint64_t n = rng_.below(4); n > 0; --n) out[text()] = json(depth);
    return out;
  }
  // "None" is how null is written, so it is no string of a free table.
  std::string plain_text() {
    std::string out = text();
    return out == "None" ? "none" : out;
  }
  std::string free_table() { return coin() && coin() ? "" : table(3).dump(); }

  template <class T, class Make>
  std::vector<T> list(Make make) {
    std::vector<T> out;
    for (std::uint64_t n = rng_.below(4); n > 0; --n) out.push_back(make());
    return out;
  }

  SampleSampling sampling() { return {positive_float(), count()}; }
  SampleEnv env() {
    SampleEnv out{text(), free_table(), {}};
    if (coin()) out.sampling = sampling();
    return out;
  }

  Sample sample() {
    Sample out;
    out.seed = integer();
    out.seq_len = count();
    out.shuffle = coin();
    out.ratio = rng_.uniform();
    out.sizes = list<std::int64_t>([&] { return std::abs(integer() / 2); });
    out.betas = list<double>([&] { return real(); });
    out.stop = list<std::string>([&] { return text(); });
    out.note = text();
    out.rollouts = free_table();
    out.optim = {positive(), {}, coin() ? "sgd" : "muon", rng_.uniform_double()};
    if (coin()) out.optim.max_norm = coin() ? std::numeric_limits<double>::infinity() : positive();
    out.model.name = text();
    if (coin()) out.model.revision = plain_text();
    if (coin())
      out.model.ac =
          SampleRecompute{count(), coin() ? std::vector<std::string>{"mlp"} : std::vector<std::string>{}};
    out.sampling = sampling();
    if (coin()) {
      out.ckpt = SampleCkpt{count(), {}, {}};
      if (coin()) out.ckpt->keep_all = coin();
      if (coin()) out.ckpt->keep_last = count();
    }
    out.env = list<SampleEnv>([&] { return env(); });
    return out;
  }

 private:
  Rng rng_;
};

// Free tables are equal as JSON; their text may differ, and no text is the empty table.
void normalise(Sample& sample) {
  const auto tidy = [](std::string& text) {
    text = nlohmann::json::parse(text.empty() ? "{}" : text).dump();
  };
  tidy(sample.rollouts);
  for (SampleEnv& env : sample.env) tidy(env.args);
}

TEST(ConfigRoundTrip, WhatIsWrittenLoadsBackEqual) {
  Maker make(fresh_seed());
  TemporaryDirectory dir;
  for (int i = 0; i < 300; ++i) {
    Sample sample = make.sample();
    config::Origins origins;
    if (make.coin()) origins = {{"seed", "odd\nname\x1b.toml:3"}, {"optim.lr", "command line"}};
    const std::string text = config::to_toml(config::describer(sample), make.coin() ? &origins : nullptr);
    write_text(dir / "resolved.toml", text);
    Sample back = make.sample();  // whatever was there before must not matter, but free tables merge
    back.rollouts.clear();
    ASSERT_NO_THROW(load_into(back, {"@", dir / "resolved.toml"})) << text;
    normalise(sample);
    normalise(back);
    ASSERT_EQ(sample, back) << text;
  }
}

// The same values through flags: each key as --key=value.
TEST(ConfigRoundTrip, FlagsGiveTheSameValues) {
  Maker make(fresh_seed() + 1);
  for (int i = 0; i < 200; ++i) {
    const Sample wanted = make.sample();
    Sample sample;
    std::vector<std::string> flags = {"--seed=" + std::to_string(wanted.seed),
                                      "--note=" + wanted.note,
                                      wanted.shuffle ? "--shuffle" : "--no-shuffle",
                                      fmt::format("--optim.lr={}", wanted.optim.lr),
                                      fmt::format("--sampling.temperature={}", wanted.sampling.temperature),
                                      fmt::format("--betas={}", fmt::join(wanted.betas, ",")),
                                      fmt::format("--sizes=[{}]", fmt::join(wanted.sizes, ", ")),
                                      "--rollouts=" + (wanted.rollouts.empty() ? "{}" : wanted.rollouts)};
    load_into(sample, flags);
    EXPECT_EQ(sample.seed, wanted.seed);
    EXPECT_EQ(sample.note, wanted.note);
    EXPECT_EQ(sample.shuffle, wanted.shuffle);
    EXPECT_EQ(sample.optim.lr, wanted.optim.lr);
    EXPECT_EQ(sample.sampling.temperature, wanted.sampling.temperature);
    EXPECT_EQ(sample.betas, wanted.betas);
    EXPECT_EQ(sample.sizes, wanted.sizes);
    EXPECT_EQ(nlohmann::json::parse(sample.rollouts),
              nlohmann::json::parse(wanted.rollouts.empty() ? "{}" : wanted.rollouts));
  }
}

TEST(ConfigRoundTrip, OriginsAreComments) {
  TemporaryDirectory dir;
  write_text(dir / "a.toml", "seed = 3\n[[env]]\nid = \"x\"\n");
  Sample sample;
  const config::Loaded loaded = load_into(sample, {"@", dir / "a.toml", "--optim.lr", "2e-5", "--no-ckpt"});
  const std::string text = config::to_toml(config::describer(sample), &loaded.origins);
  for (const std::string& line :
       {"seed = 3  # " + (dir / "a.toml") + ":1\n", std::string("seq_len = 128  # default\n"),
        std::string("lr = 2e-05  # command line\n"), std::string("ckpt = \"None\"  # command line\n"),
        std::string("ratio = 0.1  # default\n"), "id = \"x\"  # " + (dir / "a.toml") + ":3\n"}) {
    EXPECT_NE(text.find(line), std::string::npos) << line << "not in\n" << text;
  }
}

TEST(ConfigRoundTrip, AsJson) {
  TemporaryDirectory dir;
  write_text(dir / "a.toml", "seed = 3\n[[env]]\nid = \"x\"\nargs = { k = [1, \"None\"] }\n[model.ac]\n");
  Sample sample;
  load_into(sample, {"@", dir / "a.toml", "--optim.lr", "2e-5", "--no-ckpt"});
  const auto json = nlohmann::json::parse(config::to_json(config::describer(sample)));
  EXPECT_EQ(json["seed"], 3);
  EXPECT_EQ(json["optim"]["lr"], 2e-5);
  EXPECT_EQ(json["sizes"], nlohmann::json::parse("[1, 2]"));
  EXPECT_TRUE(json["ckpt"].is_null());
  EXPECT_TRUE(json["model"]["revision"].is_null());
  EXPECT_EQ(json["model"]["ac"]["freq"], 1);
  EXPECT_FALSE(json["model"].contains("fp8"));  // refused keys are no values
  EXPECT_EQ(json["env"].size(), 1U);
  EXPECT_EQ(json["env"][0]["args"], nlohmann::json::parse(R"({"k": [1, null]})"));
  EXPECT_TRUE(json["env"][0]["sampling"].is_null());
}

// Whatever bytes a file holds, loading ends with success or one bad_input.
TEST(ConfigRoundTrip, RandomDamageIsReportedAsBadInput) {
  Maker make(fresh_seed() + 2);
  Rng rng(fresh_seed() + 3);
  TemporaryDirectory dir;
  int refused = 0;
  for (int i = 0; i < 300; ++i) {
    Sample sample = make.sample();
    std::string text = config::to_toml(config::describer(sample));
    for (std::uint64_t n = 1 + rng.below(3); n > 0; --n) {
      const std::size_t at = rng.below(text.size());
      switch (rng.below(3)) {
        case 0:
          text[at] = static_cast<char>(rng.below(256));
          break;
        case 1:
          text.erase(at, 1 + rng.below(5));
          break;
        default:
          text.insert(at, text.substr(rng.below(text.size()), rng.below(9)));
      }
    }
    write_text(dir / "damaged.toml", text);
    Sample back;
    try {
      load_into(back, {"@", dir / "damaged.toml"});
    } catch (const Error& error) {
      ++refused;
      ASSERT_EQ(error.code(), ExitCode::kBadInput) << error.render() << text;
      EXPECT_NE(std::string(error.what()).find("damaged.toml:"), std::string::npos) << error.render();
    }
  }
  EXPECT_GT(refused, 30);
}

}  // namespace
}  // namespace rlcpp::test
