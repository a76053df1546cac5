// A policy without a model: what it says depends on prompt and seed alone, when it says so on a generator of
// its own.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/rng.h"
#include "client/policy_client.h"
#include "orchestrator/environments.h"

namespace rlcpp::orchestrator::testing {

// Ids are bytes; 0 ends a completion.
inline TextCodec byte_codec() {
  TextCodec codec;
  codec.prompt_ids = [](const std::vector<env::Message>& messages) {
    std::vector<std::int32_t> ids;
    for (const env::Message& message : messages) {
      for (const char c : message.content) ids.push_back(static_cast<unsigned char>(c));
    }
    return ids;
  };
  // "\0[content][content]": the end of the turn, then each message.
  codec.continuation = [](const std::vector<env::Message>& /*before*/,
                          const std::vector<env::Message>& next) {
    data::Continuation out;
    const auto add = [&](char c, std::int32_t message, std::size_t at = 0) {
      out.ids.push_back(static_cast<unsigned char>(c));
      out.message.push_back(message);
      out.bytes.push_back(message < 0 ? data::Continuation::Bytes{} : data::Continuation::Bytes{at, at + 1});
    };
    add('\0', -1);
    for (std::size_t m = 0; m < next.size(); ++m) {
      add('[', -1);
      const std::string& content = next[m].content;
      for (std::size_t i = 0; i < content.size(); ++i) add(content[i], static_cast<std::int32_t>(m), i);
      add(']', -1);
      out.contents.push_back(content);
    }
    return out;
  };
  codec.completion_text = [](std::span<const std::int32_t> ids) {
    std::string text;
    for (const std::int32_t id : ids) {
      if (id != 0) text.push_back(static_cast<char>(id));
    }
    return text;
  };
  codec.whole_text = [](std::span<const std::int32_t> ids) {
    std::string text;
    for (const std::int32_t id : ids) text += id != 0 ? std::string(1, static_cast<char>(id)) : "<end>";
    return text;
  };
  return codec;
}

class StubPolicy final : public client::PolicyClient {
 public:
  // answer(prompt, seed): the completion's text; the stub adds the end of sequence, or cuts at max_tokens.
  using Answer = std::function<std::string(const std::string& prompt, std::uint64_t seed)>;
  explicit StubPolicy(Answer answer, std::uint64_t timing_seed = 1)
      : answer_(std::move(answer)), timing_(timing_seed) {}

  const std::string& name() const override { return name_; }
  void submit(rollout::GroupRequest request) override {
    requests.push_back(request);
    for (std::int32_t sample = 0; sample < request.n; ++sample) {
      rollout::SampledSequence sequence;
      sequence.group = request.id;
      sequence.sample = sample;
      const std::uint64_t seed = request.seeds.at(static_cast<std::size_t>(sample));
      const std::string prompt(request.prompt.begin(), request.prompt.end());
      std::string text = answer_(prompt, seed);
      text.push_back('\0');
      if (text.size() > static_cast<std::size_t>(request.max_tokens)) {
        text.resize(static_cast<std::size_t>(request.max_tokens));
        sequence.finish = rollout::FinishReason::kLength;
      }
      for (std::size_t t = 0; t < text.size(); ++t) {
        sequence.ids.push_back(static_cast<unsigned char>(text[t]));
        sequence.logprobs.push_back(-static_cast<float>(mix64(seed, t) % 1000) / 100.0F);
        sequence.versions.push_back(version_);
      }
      pending_.push_back(std::move(sequence));
    }
    largest_outstanding = std::max(largest_outstanding, outstanding());
  }
  void abort(std::int64_t group_id) override {
    for (rollout::SampledSequence& sequence : pending_) {
      if (sequence.group == group_id) sequence.finish = rollout::FinishReason::kAborted;
    }
    ++aborts;
  }
  Poll poll() override {
    Poll out;
    // Some of what is pending, in any order; now and then nothing.
    for (std::uint64_t i = timing_.below(4); i > 0 && !pending_.empty(); --i) {
      const std::size_t which = timing_.below(pending_.size());
      out.finished.push_back(std::move(pending_[which]));
      pending_.erase(pending_.begin() + static_cast<std::ptrdiff_t>(which));
    }
    out.progressed = true;
    return out;
  }
  std::int64_t outstanding() const override { return static_cast<std::int64_t>(pending_.size()); }
  void set_version(std::int64_t version) override { version_ = version; }
  std::int64_t version() const override { return version_; }

  std::vector<rollout::GroupRequest> requests;
  std::int64_t largest_outstanding = 0;
  int aborts = 0;

 private:
  std::string name_ = "stub policy";
  Answer answer_;
  Rng timing_;
  std::vector<rollout::SampledSequence> pending_;
  std::int64_t version_ = 0;
};

// Right with probability `skill`, else a number near the answer. Prompts are those of `arithmetic` with ops
// ["+"].
inline StubPolicy::Answer adder(double skill) {
  return [skill](const std::string& prompt, std::uint64_t seed) {
    const std::size_t plus = prompt.find('+');
    const long sum = std::stol(prompt) + std::stol(prompt.substr(plus + 1));
    Rng rng(seed);
    const bool right = rng.uniform_double() < skill;
    return fmt::format("{}\\boxed{{{}}}", std::string(rng.below(9), '.'), right ? sum : sum + 1);
  };
}

inline EnvSection adding(const std::string& name, std::int64_t size, std::int64_t holdout = 0,
                         std::int64_t seed = 0) {
  EnvSection section;
  section.id = "arithmetic";
  section.name = name;
  section.args = nlohmann::json{{"ops", {"+"}},        {"max", 999},         {"size", size},
                                {"system_prompt", ""}, {"holdout", holdout}, {"seed", seed}}
                     .dump();
  return section;
}

}  // namespace rlcpp::orchestrator::testing
