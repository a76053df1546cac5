// Every operation that a training step can call says so (ops/calls.h), and says it right.
#include "ops/calls.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <list>
#include <regex>
#include <set>
#include <sstream>

#include "ops/adapter.h"
#include "ops/back_ends.h"
#include "ops/cast.h"
#include "ops/stopwatch.h"
#include "ops/swiglu.h"
#include "tensor/copy.h"

namespace rlcpp::test {
namespace {

std::string text_of(const std::string& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

TEST(Calls, EveryOperationOfATrainingStepIsWrittenDown) {
  // What only an engine calls, and what only sets up.
  const std::set<std::string> others = {
      "head_logits",      "head_statistics", "kv_write", "attention_paged",  "use_attention_kernels",
      "measure_products", "exact_attention", "kv_copy",  "takes_paged_work", "documents_in_library"};
  const std::string root = std::string(RLCPP_TEST_DATA) + "/../../src/ops/";
  const std::regex declaration("\n(?:void|double|bool) (\\w+)\\(const Context& ctx,");
  int found = 0;
  for (const char* family : {"adapter", "attention", "cast", "embedding", "head", "matmul", "muon", "norm",
                             "optimizer", "rope", "swiglu"}) {
    const std::string header = text_of(root + family + ".h"), source = text_of(root + family + ".cpp");
    ASSERT_FALSE(header.empty() || source.empty()) << root << family;
    for (std::sregex_iterator it(header.begin(), header.end(), declaration), end; it != end; ++it) {
      const std::string name = (*it)[1];
      if (others.contains(name)) continue;
      ++found;
      EXPECT_TRUE(source.find("\"" + name + "\"") != std::string::npos &&
                  source.find("LoggedCall") != std::string::npos)
          << family << ".cpp does not write down its calls of " << name;
    }
  }
  EXPECT_GE(found, 30);
}

class Logging : public ::testing::Test {
 protected:
  Tensor tensor(std::initializer_list<std::int64_t> shape) {
    std::int64_t size = 1;
    for (const std::int64_t n : shape) size *= n;
    std::vector<float>& values = memory_.emplace_back(static_cast<std::size_t>(size), 0.5F);
    return Tensor(values.data(), DType::kF32, shape);
  }
  ops::CallLog log_;
  ops::Context ctx_ = [this] {
    ops::Context ctx = cpu_context();
    ctx.calls = &log_;
    return ctx;
  }();

 private:
  std::list<std::vector<float>> memory_;
};

TEST_F(Logging, OperationsInsideOthersAreOneCall) {
  const std::int64_t m = 3, k = 5, n = 4, r = 2;
  const Tensor x = tensor({m, k}), w = tensor({2 * n, k}), gate_up = tensor({m, 2 * n}), y = tensor({m, n});
  const Tensor h = tensor({m, r}), b = tensor({2 * n, r});
  ops::linear_swiglu_forward(ctx_, y, gate_up, true, x, w, {}, {}, h, b);
  EXPECT_TRUE(log_.calls.empty());  // not asked for
  log_.on = true;
  ops::linear_swiglu_forward(ctx_, y, gate_up, true, x, w, {}, {}, h, b);
  ops::swiglu_forward(ctx_, y, gate_up);
  ASSERT_EQ(log_.calls.size(), 2U);
  EXPECT_EQ(log_.calls[0].name, "linear_swiglu_forward, kept");
  EXPECT_EQ(log_.calls[0].flops, 2.0 * m * 2 * n * (k + r));
  EXPECT_EQ(log_.calls[0].bytes, 4.0 * (m * n + m * 2 * n + m * k + 2 * n * k + m * r + 2 * n * r));
  EXPECT_EQ(log_.calls[1].name, "swiglu_forward");
  EXPECT_EQ(log_.calls[1].bytes, 4.0 * 3 * m * n);
  EXPECT_EQ(log_.depth, 0);
}

TEST_F(Logging, ACallIsMadeAgainOnOtherMemory) {
  const Tensor gate_up = tensor({2, 6}), y = tensor({2, 3});
  log_.on = true;
  ops::swiglu_forward(ctx_, y, gate_up);
  const Tensor other_gate_up = tensor({2, 6}), other = tensor({2, 3});
  from_floats(other_gate_up, std::vector<float>(12, 2.0F));
  from_floats(y, std::vector<float>(6, -1.0F));
  log_.on = false;
  log_.calls.front().again(ctx_, {other, other_gate_up});
  EXPECT_EQ(to_floats(y), std::vector<float>(6, -1.0F));
  for (const float value : to_floats(other)) EXPECT_NEAR(value, 4.0 / (1 + std::exp(-2.0)), 1e-5);
}

TEST(Stopwatch, MeasuresWhatTheDeviceDoes) {
  for (const bool gpu : {false, true}) {
    if (gpu && !has_gpu()) {
      ASSERT_FALSE(gpu_expected());
      continue;
    }
    const ops::Context ctx = gpu ? gpu_context() : cpu_context();
    const Device device = ctx.device;
    constexpr std::int64_t kSize = std::int64_t{64} << 20;
    std::vector<std::byte> here(gpu ? 0 : kSize);
    void* memory = gpu ? cuda::allocate(kSize, device) : here.data();
    const Tensor t(memory, DType::kU8, {kSize}, device);
    ops::Stopwatch watch(ctx);
    const auto measured = [&](int times) {
      watch.start();
      for (int i = 0; i < times; ++i) ops::zero(ctx, t);
      return watch.stop();
    };
    measured(3);
    // The least of several: whoever else is on the machine only adds.
    double one = 1e9, many = 1e9;
    for (int i = 0; i < 5; ++i) {
      one = std::min(one, measured(1));
      many = std::min(many, measured(40));
    }
    EXPECT_GT(one, 1e-6);
    EXPECT_GT(many, 8 * one);
    if (gpu) cuda::release(memory, device);
  }
}

}  // namespace
}  // namespace rlcpp::test
