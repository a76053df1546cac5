// The model of communication: its fits, its terms by hand, and measured steps of one and two GPUs.
#include "bench/scaling.h"

#include <cmath>
#include <fstream>

#include "base/error.h"
#include "bench/scaling_page.h"
#include "support.h"

namespace rlcpp::bench {
namespace {

const std::string kDevice = "NVIDIA H100 80GB HBM3";

// Figures that lie on latency + bytes * share / bandwidth.
CollectiveFile exact_file(int gpus, double latency, double bandwidth) {
  CollectiveFile file{kDevice, "NCCL", "2026-11-26", gpus, {}};
  for (const char* name : {"all_reduce", "reduce_scatter", "all_gather"}) {
    for (const double mib : {32.0, 256.0, 1024.0}) {
      const double bytes = mib * 0x1p20;
      file.figures.push_back({name, "f32", bytes, latency + bytes * bus_share(name, gpus) / bandwidth});
    }
  }
  return file;
}

TEST(Links, FindLatencyAndBandwidthOfExactFigures) {
  const Links links({exact_file(2, 50e-6, 250e9), exact_file(8, 90e-6, 350e9)}, kDevice);
  EXPECT_NEAR(links.seconds("all_gather", 1e9, 2), 50e-6 + 0.5e9 / 250e9, 1e-12);
  EXPECT_NEAR(links.seconds("all_reduce", 1e9, 2), 50e-6 + 1e9 / 250e9, 1e-12);
  EXPECT_NEAR(links.seconds("reduce_scatter", 1e9, 8), 90e-6 + 0.875e9 / 350e9, 1e-12);
  EXPECT_EQ(links.seconds("all_reduce", 1e9, 1), 0);
  EXPECT_TRUE(links.measured(8));
  EXPECT_FALSE(links.measured(4));
  // Four were not measured: two are nearer than eight, with the share of four.
  EXPECT_NEAR(links.seconds("all_gather", 1e9, 4), 50e-6 + 0.75e9 / 250e9, 1e-12);
  EXPECT_NEAR(links.seconds("all_gather", 1e9, 5), 50e-6 + 0.8e9 / 250e9, 1e-12);
  EXPECT_NEAR(links.seconds("all_gather", 1.2e9, 6), 90e-6 + 1e9 / 350e9, 1e-12);
  EXPECT_FALSE(Links({exact_file(2, 1, 1)}, "another GPU").any());
}

// The relative error is what is small: the figures of small tensors count as much as those of large ones.
TEST(Links, FitWhatIsNotALine) {
  CollectiveFile file{kDevice, "NCCL", "2026-11-26", 2, {}};
  // One size: no latency can be told from it.
  file.figures = {{"all_gather", "bf16", 1e9, 2e-3}};
  EXPECT_NEAR(Links({file}, kDevice).seconds("all_gather", 5e8, 2), 1e-3, 1e-12);
  EXPECT_THROW(Links({file}, kDevice).seconds("all_reduce", 5e8, 2), Error);
  // Larger tensors slower than in proportion: a line would begin below zero.
  file.figures.push_back({"all_gather", "bf16", 1e8, 1e-4});
  EXPECT_GT(Links({file}, kDevice).seconds("all_gather", 1e3, 2), 0);
  // Six random figures: no other line has a smaller sum of squared relative errors.
  file.figures.clear();
  for (int i = 1; i <= 6; ++i) {
    const double bytes = 1e8 * i * i;
    file.figures.push_back(
        {"all_reduce", "f32", bytes, (1e-4 + bytes / 3e11) * (1 + 0.05 * std::sin(7.0 * i))});
  }
  const Links links({file}, kDevice);
  const double latency = links.seconds("all_reduce", 0, 2),
               slope = (links.seconds("all_reduce", 1e9, 2) - latency) / 1e9;
  const auto error = [&](double a, double b) {
    double sum = 0;
    for (const CollectiveFigure& f : file.figures)
      sum += std::pow((a + b * f.bytes - f.seconds) / f.seconds, 2);
    return sum;
  };
  for (const auto& [da, db] : {std::pair(1.01, 1.0), {0.99, 1.0}, {1.0, 1.001}, {1.0, 0.999}})
    EXPECT_GT(error(latency * da, slope * db), error(latency, slope));
}

TEST(Links, FilesThatAreNoneAreNamed) {
  const std::string good =
      R"({"device_name": "x", "num_gpus": 2, "carrier": "c", "date": "2026-11-26",
          "figures": [{"collective": "all_gather", "type": "f32", "bytes": 8, "seconds": 0.5}]})";
  EXPECT_EQ(collectives_from_json(good, "here").figures.at(0).seconds, 0.5);
  const auto with = [&](const std::string& from, const std::string& to) {
    std::string text = good;
    text.replace(text.find(from), from.size(), to);
    return text;
  };
  for (const std::string& text :
       {std::string("{"), std::string("[]"), with("num_gpus", "gpus"), with("0.5", "0"),
        with("\"bytes\": 8", "\"bytes\": -1"), with("all_gather", "broadcast"),
        with("\"num_gpus\": 2", "\"num_gpus\": 1"), with("\"num_gpus\": 2", "\"num_gpus\": 2e30")}) {
    try {
      collectives_from_json(text, "here");
      FAIL() << text;
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ExitCode::kBadInput);
      EXPECT_NE(e.render().find("here"), std::string::npos) << e.render();
    }
  }
}

// Harter, Expected values of normal order statistics (1961).
TEST(Scaling, TheSlowestOfSeveral) {
  EXPECT_NEAR(expected_largest(1), 0, 1e-9);
  EXPECT_NEAR(expected_largest(2), 1 / std::sqrt(std::acos(-1.0)), 1e-9);
  EXPECT_NEAR(expected_largest(4), 1.02938, 5e-6);
  EXPECT_NEAR(expected_largest(8), 1.42360, 5e-6);
}

// A model and links with round numbers: each term by hand.
TEST(Scaling, TermsByHand) {
  const ScaledModel model{.layers = 10, .layer_parameters = 1e8, .other_parameters = 2e8};
  const Links links({exact_file(4, 1e-3, 300e9)}, kDevice);
  const ScalingConstants c{.memory_bandwidth = 1e12, .interference = 0.5, .exchange = 7e-4, .spread = 0};
  const StepTime one = predict_step(model, {.gpus = 1, .rows = 3}, links, c, 0.2);
  EXPECT_NEAR(one.rows, 0.6, 1e-12);
  // 34 bytes a parameter updated, 4 set to zero, of 1.2e9.
  EXPECT_NEAR(one.optimizer, 1.2e9 * 38 / 1e12, 1e-12);
  EXPECT_EQ(one.waited + one.beside + one.exchange, 0);

  const double scatter = 1e-3 + 4e8 * 0.75 / 300e9, gather = 1e-3 + 2e8 * 0.75 / 300e9;
  const double ends = 2e-3 + (8e8 + 4e8) * 0.75 / 300e9;
  const StepTime first = predict_step(model, {.gpus = 4, .rows = 3, .zero = 1}, links, c, 0.2);
  EXPECT_NEAR(first.optimizer, 1.2e9 * (34 / 4.0 + 4) / 1e12, 1e-12);
  EXPECT_NEAR(first.beside, 0.5 * 10 * scatter, 1e-12);
  EXPECT_NEAR(first.waited, ends + 10 * gather, 1e-12);
  EXPECT_EQ(first.exchange, 7e-4);
  EXPECT_NEAR(first.seconds(), first.rows + first.optimizer + first.waited + first.beside + 7e-4, 1e-15);
  // A backward of 12 ms hides no more than 12 ms of them.
  const StepTime brief = predict_step(model, {.gpus = 4, .rows = 3, .zero = 1}, links, c, 0.018);
  EXPECT_NEAR(brief.beside, 0.5 * 0.012, 1e-12);
  EXPECT_NEAR(brief.waited, ends + 10 * gather + 10 * scatter - 0.012, 1e-12);

  const StepTime second = predict_step(model, {.gpus = 4, .rows = 3, .zero = 2}, links, c, 0.2);
  EXPECT_NEAR(second.beside, 0.5 * 30 * scatter, 1e-12);
  EXPECT_NEAR(second.waited, first.waited, 1e-12);
  EXPECT_NEAR(second.optimizer, (1.2e9 * 34 / 4 + 4 * (2e8 + 1e9 / 4) + 3 * (4 * 1e9 + 12 * 1e9 / 4)) / 1e12,
              1e-12);
  const StepTime third = predict_step(model, {.gpus = 4, .rows = 3, .zero = 3}, links, c, 0.2);
  EXPECT_NEAR(third.beside, 0.5 * 30 * (scatter + 2 * gather), 1e-12);
  EXPECT_NEAR(third.waited, ends, 1e-12);
  EXPECT_NEAR(third.optimizer - second.optimizer, 3 * 2 * 6 * 1e9 / 4 / 1e12, 1e-12);

  ScaledModel adapters = model;
  adapters.adapter_parameters = 1e7;
  const StepTime lora = predict_step(adapters, {.gpus = 4, .rows = 3}, links, c, 0.2);
  EXPECT_NEAR(lora.waited, 1e-3 + 4e7 * 1.5 / 300e9, 1e-12);
  EXPECT_NEAR(lora.optimizer, 34e7 / 1e12, 1e-15);
  // GPUs of uneven speed.
  ScalingConstants uneven = c;
  uneven.spread = 0.01;
  EXPECT_NEAR(predict_step(model, {.gpus = 4, .rows = 3}, links, uneven, 0.2).rows, 0.6 * 1.0102938, 1e-7);
  for (const int zero : {1, 2, 3}) {
    for (const double row : {0.001, 0.018, 0.2}) {
      const ScaledRun run{.gpus = 4, .rows = 2, .zero = zero};
      const double seconds = predict_step(model, run, links, uneven, row).seconds();
      EXPECT_NEAR(row_seconds_of(model, run, links, uneven, seconds), row, 1e-9) << zero;
    }
  }
}

// Measured 2026-11-26 (docs/performance.md): rows of 8192, four on one H100, two on each of two.
TEST(Scaling, MeasuredStepsOfOneAndTwoGpus) {
  const ScaledModel small{.layers = 28, .layer_parameters = 15730944, .other_parameters = 151936.0 * 1024},
      large{.layers = 36, .layer_parameters = 100930816, .other_parameters = 151936.0 * 2560};
  const auto lora = [](ScaledModel model, double adapters) {
    model.adapter_parameters = adapters;
    return model;
  };
  const auto from_rates = [](const char* name, const std::vector<std::pair<double, double>>& rates) {
    std::vector<CollectiveFigure> out;
    for (const auto& [mib, rate] : rates)
      out.push_back({name, "", mib * 0x1p20, mib * 0x1p20 / (rate * 1e9)});
    return out;
  };
  CollectiveFile file{kDevice, "NCCL 2.28.9", "2026-11-26", 2, {}};
  for (const auto& some : {from_rates("all_reduce", {{256, 286}, {1024, 326}, {1024, 332}}),
                           from_rates("reduce_scatter", {{32, 262}, {256, 450}, {1024, 537}, {1024, 531}}),
                           from_rates("all_gather", {{32, 299}, {256, 477}, {1024, 569}, {1024, 582}})})
    file.figures.insert(file.figures.end(), some.begin(), some.end());
  const Links links({file}, kDevice);
  const ScalingConstants c;
  struct Case {
    const char* name;
    ScaledModel model;
    ScaledRun from;
    double from_seconds;
    ScaledRun to;
    double to_seconds;
  };
  const ScaledRun four{.gpus = 1, .rows = 4}, two{.gpus = 2, .rows = 2}, second{2, 2, 2}, third{2, 2, 3};
  for (const Case& k :
       std::vector<Case>{{"0.6B SFT, None", small, four, 0.44232, two, 0.22586},
                         {"0.6B SFT, Recompute", small, four, 0.54084, two, 0.27452},
                         {"0.6B RL, None", small, four, 0.46491, two, 0.24192},
                         {"0.6B RL, Recompute", small, four, 0.58441, two, 0.30018},
                         {"0.6B LoRA, None", lora(small, 10.09e6), four, 0.44599, two, 0.22362},
                         {"0.6B LoRA, Recompute", lora(small, 10.09e6), four, 0.55568, two, 0.27870},
                         {"4B LoRA, None", lora(large, 33.03e6), four, 1.66881, two, 0.82512},
                         {"4B LoRA, Recompute", lora(large, 33.03e6), four, 2.14359, two, 1.05695},
                         {"0.6B SFT, Recompute, ZeRO 3", small, four, 0.54084, third, 0.28530},
                         {"0.6B RL, Recompute, ZeRO 3", small, four, 0.58441, third, 0.31204},
                         {"4B SFT, Recompute, ZeRO 2", large, two, 1.15267, second, 1.20080},
                         {"4B SFT, Recompute, ZeRO 3", large, two, 1.15267, third, 1.22579},
                         {"4B RL, Recompute, ZeRO 2", large, two, 1.23654, second, 1.27101},
                         {"4B RL, Recompute, ZeRO 3", large, two, 1.23654, third, 1.32104}}) {
    const double row = row_seconds_of(k.model, k.from, links, c, k.from_seconds);
    const double predicted = predict_step(k.model, k.to, links, c, row).seconds();
    std::printf("%-28s measured %.4f s, predicted %.4f s, %+.1f %%\n", k.name, k.to_seconds, predicted,
                100 * (predicted / k.to_seconds - 1));
    EXPECT_NEAR(predicted, k.to_seconds, 0.025 * k.to_seconds) << k.name;
  }
}

Result row_of(const std::string& scaling, std::int64_t gpus, double rate) {
  Result r;
  r.config.model_name = "Qwen/Qwen3-0.6B";
  r.config.type = "sft";
  r.config.num_gpus = gpus;
  r.config.device_name = kDevice;
  r.config.seq_len = 8192;
  r.config.scaling = scaling;
  r.config.micro_batches = scaling == "strong" ? 32 / gpus : 2;
  r.config.success = true;
  r.metrics.throughput.mean = rate;
  return r;
}

TEST(ScalingPage, SaysWhatWasMeasuredAndWhatWasNot) {
  Matrix m;
  m.defaults.type = "sft";
  m.defaults.model_name = "Qwen/Qwen3-0.6B";
  m.defaults.seq_len = 8192;
  for (const char* scaling : {"weak", "strong"}) {
    for (const std::int64_t n : {4, 1, 2, 8}) {
      MatrixRow& row = m.row.emplace_back();
      row.scaling = scaling;
      row.num_gpus = n;
      row.micro_batches = *row.scaling == "strong" ? 32 / n : 2;
    }
  }
  m.row.emplace_back().num_gpus = 8;  // of no scaling: not of this section
  const auto models = [](const std::string&, std::optional<std::int64_t>) {
    return std::optional<ScaledModel>(
        {.layers = 28, .layer_parameters = 15730944, .other_parameters = 155e6});
  };
  const Links links({exact_file(2, 60e-6, 280e9)}, kDevice);
  std::vector<Result> results = {row_of("weak", 1, 73000), row_of("weak", 4, 280000)};
  results.push_back(row_of("weak", 2, 1));
  results.back().config.device_name = "another GPU";
  results.push_back(row_of("weak", 8, 0));
  results.back().config.success = false;
  const auto lines = scaling_lines(plan_rows(m), results, models, links, kDevice);
  ASSERT_EQ(lines.size(), 2U);
  const ScalingLine& weak = lines[0];
  ASSERT_EQ(weak.cells.size(), 4U);
  EXPECT_EQ(weak.calibrated_on, 1);
  EXPECT_EQ(weak.cells[0].gpus, 1);
  EXPECT_NEAR(*weak.cells[0].efficiency, 1, 1e-12);
  EXPECT_NEAR(*weak.cells[0].predicted, 1, 1e-12);
  EXPECT_FALSE(weak.cells[1].tokens_per_second.has_value());
  EXPECT_NEAR(*weak.cells[2].efficiency, 280000 / 292000.0, 1e-12);
  EXPECT_GT(*weak.cells[1].predicted, *weak.cells[3].predicted);
  EXPECT_GT(*weak.cells[3].predicted, 0.9);
  EXPECT_LT(*weak.cells[1].predicted, 1);
  // Nothing of this scaling was measured, and a row of the other does not stand for it.
  EXPECT_FALSE(lines[1].cells[0].predicted.has_value());
  const std::string page = render_scaling(lines, kDevice, links, "../scaling.svg");
  for (const char* part :
       {"## Scaling", kDevice.c_str(), "(../scaling.svg)", "### Weak", "### Strong",
        "| Qwen/Qwen3-0.6B | SFT Full | 8192 | None | 73.00k | not measured (", "| 280.00k, 95.9 % (",
        "measured on 2 GPUs; those of 4 and 8 are predicted", "| not measured | not measured |"})
    EXPECT_NE(page.find(part), std::string::npos) << part << " in\n" << page;
  const std::string plot = scaling_svg(lines);
  for (const char* part : {"SFT Full, predicted", "SFT Full, measured", "Qwen/Qwen3-0.6B, weak<",
                           "Qwen/Qwen3-0.6B, strong (not measured)<"})
    EXPECT_NE(plot.find(part), std::string::npos) << part;
  // A row of the same kind without a scaling starts a prediction for both.
  results = {row_of("", 1, 73000)};
  for (const ScalingLine& line : scaling_lines(plan_rows(m), results, models, links, kDevice)) {
    EXPECT_TRUE(line.cells[3].predicted.has_value());
    EXPECT_FALSE(line.cells[0].tokens_per_second.has_value());
  }
  EXPECT_TRUE(render_scaling({}, kDevice, links, "").empty());
}

}  // namespace
}  // namespace rlcpp::bench
