#include "rollout/request.h"

#include <cmath>
#include <functional>
#include <limits>
#include <string>

#include "base/error.h"
#include "support.h"

namespace rlcpp::rollout {
namespace {

GroupRequest good_request() {
  GroupRequest request;
  request.id = 12;
  request.prompt = {1, 2, 3};
  request.n = 2;
  request.max_tokens = 5;
  request.seeds = {7, 8};
  return request;
}

const RequestLimits kLimits{.vocab_size = 10, .max_model_len = 8, .has_token_bytes = true};

// The error is the user's, names the request and the field, and says how to mend it.
void expect_refused(const std::string& field, const std::function<void(GroupRequest&)>& change,
                    const RequestLimits& limits = kLimits) {
  GroupRequest request = good_request();
  change(request);
  try {
    check_request(request, limits);
    FAIL() << field << " was accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kBadInput);
    const std::string text = error.render();
    EXPECT_NE(text.find("request 12"), std::string::npos) << text;
    EXPECT_NE(text.find(field), std::string::npos) << text;
    EXPECT_FALSE(error.because().empty());
    EXPECT_FALSE(error.help().empty());
  }
}

TEST(Request, FieldsAreChecked) {
  check_request(good_request(), kLimits);
  expect_refused("prompt", [](GroupRequest& r) { r.prompt.clear(); });
  expect_refused("prompt has 8 tokens", [](GroupRequest& r) { r.prompt.assign(8, 1); });
  expect_refused("prompt[1] is token 10", [](GroupRequest& r) { r.prompt[1] = 10; });
  expect_refused("prompt[2] is token -1", [](GroupRequest& r) { r.prompt[2] = -1; });
  expect_refused("n is 0", [](GroupRequest& r) { r.n = 0; });
  expect_refused("seeds", [](GroupRequest& r) { r.seeds.pop_back(); });
  expect_refused("seeds", [](GroupRequest& r) { r.seeds.push_back(1); });
  expect_refused("max_tokens is 0", [](GroupRequest& r) { r.max_tokens = 0; });
  expect_refused("min_tokens is -1", [](GroupRequest& r) { r.min_tokens = -1; });
  expect_refused("min_tokens is 6", [](GroupRequest& r) { r.min_tokens = 6; });
  expect_refused("stop_ids", [](GroupRequest& r) { r.stop_ids = {10}; });
  expect_refused("stop_strings", [](GroupRequest& r) { r.stop_strings = {"ok", ""}; });
  expect_refused("whole vocabulary", [](GroupRequest& r) {
    r.min_tokens = 1;
    for (std::int32_t id = 0; id < 10; ++id) r.stop_ids.push_back(id);
  });
  RequestLimits no_bytes = kLimits;
  no_bytes.has_token_bytes = false;
  expect_refused(
      "stop_strings", [](GroupRequest& r) { r.stop_strings = {"ok"}; }, no_bytes);
}

TEST(Request, SamplingIsChecked) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float inf = std::numeric_limits<float>::infinity();
  for (const float bad : {-1.0F, nan, inf, 1e-5F}) {
    expect_refused("temperature", [&](GroupRequest& r) { r.sampling.temperature = bad; });
  }
  expect_refused("top_k is -2", [](GroupRequest& r) { r.sampling.top_k = -2; });
  for (const float bad : {0.0F, -0.5F, 1.01F, nan}) {
    expect_refused("top_p", [&](GroupRequest& r) { r.sampling.top_p = bad; });
  }
  for (const float bad : {-0.1F, 1.1F, nan}) {
    expect_refused("min_p", [&](GroupRequest& r) { r.sampling.min_p = bad; });
  }
  for (const float bad : {0.0F, -1.0F, nan, inf}) {
    expect_refused("repetition_penalty", [&](GroupRequest& r) { r.sampling.repetition_penalty = bad; });
  }
  GroupRequest greedy = good_request();
  greedy.sampling = {.temperature = 0, .top_k = 3, .top_p = 0.5F, .min_p = 0.1F, .repetition_penalty = 1.2F};
  check_request(greedy, kLimits);
}

TEST(Request, TrainingAllowsTemperatureAlone) {
  GroupRequest request = good_request();
  request.sampling.temperature = 0.7F;
  require_trainable(request);
  const auto expect_untrainable = [&](const std::string& field,
                                      const std::function<void(GroupRequest&)>& change) {
    GroupRequest changed = request;
    change(changed);
    try {
      require_trainable(changed);
      FAIL() << field << " was accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kBadInput);
      EXPECT_NE(error.render().find(field), std::string::npos) << error.render();
      EXPECT_NE(error.because().find("trainer"), std::string::npos);
    }
  };
  expect_untrainable("temperature", [](GroupRequest& r) { r.sampling.temperature = 0; });
  expect_untrainable("top_k", [](GroupRequest& r) { r.sampling.top_k = 20; });
  expect_untrainable("top_p", [](GroupRequest& r) { r.sampling.top_p = 0.9F; });
  expect_untrainable("min_p", [](GroupRequest& r) { r.sampling.min_p = 0.05F; });
  expect_untrainable("repetition_penalty", [](GroupRequest& r) { r.sampling.repetition_penalty = 1.1F; });
  expect_untrainable("min_tokens", [](GroupRequest& r) { r.min_tokens = 3; });
}

TEST(Request, ReasonsHaveTheNamesOfTheField) {
  EXPECT_EQ(name_of(FinishReason::kStop), "stop");
  EXPECT_EQ(name_of(FinishReason::kLength), "length");
  EXPECT_EQ(name_of(FinishReason::kAborted), "abort");
}

}  // namespace
}  // namespace rlcpp::rollout
