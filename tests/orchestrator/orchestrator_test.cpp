#include "orchestrator/orchestrator.h"

#include <gtest/gtest.h>

#include <cmath>

#include <nlohmann/json.hpp>

#include "base/config/load.h"
#include "base/error.h"
#include "orchestrator/stub_policy.h"
#include "support.h"

namespace rlcpp::orchestrator {
namespace {

using testing::adder;
using testing::adding;
using testing::byte_codec;
using testing::StubPolicy;

OrchestratorSection section_of(std::uint64_t seed = 3) {
  OrchestratorSection section;
  section.batch_size = 32;
  section.rollouts_per_example = 4;
  section.seq_len = 64;
  section.seed = static_cast<std::int64_t>(seed);
  section.env = {adding("add", 60, 20), adding("more", 40, 20, 9)};
  section.buffer.online_difficulty_filtering = true;
  section.buffer.easy_threshold = 0.99;
  section.val = ValSection{};
  section.val->num_examples = 15;
  return section;
}

Orchestrator::Parts parts_of() {
  Orchestrator::Parts parts;
  parts.codec = byte_codec();
  parts.stop_ids = {0};
  parts.row_tokens = 128;
  return parts;
}

// All that reaches the trainer.
std::string content(const TrainingBatch& batch) {
  nlohmann::json out;
  for (const data::MicroBatch& row : batch.micro_batches) {
    out.push_back(
        {row.ids, row.cu_seqlens, row.mask, row.inference_logprobs, row.advantages, row.sample_index});
  }
  for (const auto& [name, value] : batch.metrics.items()) {
    if (!name.starts_with("time/") && name.find("_ms/") == std::string::npos) out.push_back({name, value});
  }
  return out.dump();
}

TEST(Orchestrator, BatchesHoldWhatWasSampled) {
  StubPolicy policy(adder(0.5));
  policy.set_version(7);
  Orchestrator orchestrator(section_of(), parts_of());
  orchestrator.attach(policy);
  const TrainingBatch batch = orchestrator.next_batch();
  EXPECT_EQ(batch.version, 7);
  EXPECT_EQ(batch.groups.size(), 8U);
  std::vector<const Rollout*> rollouts;
  std::vector<const Group*> owners;
  for (const Group& group : batch.groups) {
    for (const Rollout& rollout : group.rollouts) {
      rollouts.push_back(&rollout);
      owners.push_back(&group);
    }
  }
  std::size_t documents = 0;
  for (const data::MicroBatch& row : batch.micro_batches) {
    for (std::int64_t d = 0; d < row.documents(); ++d, ++documents) {
      const auto index = static_cast<std::size_t>(row.sample_index[static_cast<std::size_t>(d)]);
      const Rollout& rollout = *rollouts.at(index);
      const auto begin = static_cast<std::size_t>(row.cu_seqlens[static_cast<std::size_t>(d)]);
      const auto prompt = static_cast<std::size_t>(owners[index]->prompt_length());
      EXPECT_EQ(static_cast<std::size_t>(row.cu_seqlens[static_cast<std::size_t>(d) + 1]) - begin,
                prompt + rollout.ids.size());
      for (std::size_t t = 0; t < rollout.ids.size(); ++t) {
        EXPECT_EQ(row.ids[begin + prompt + t], rollout.ids[t]);
        EXPECT_EQ(row.inference_logprobs[begin + prompt + t], rollout.logprobs[t]);
        EXPECT_EQ(row.advantages[begin + prompt + t], static_cast<float>(rollout.advantage));
        EXPECT_EQ(row.mask[begin + prompt + t], 1);
      }
    }
  }
  EXPECT_EQ(documents, 32U);
  for (const Group& group : batch.groups) {
    double sum = 0;
    for (const Rollout& rollout : group.rollouts) {
      EXPECT_DOUBLE_EQ(rollout.advantage, rollout.reward - group.mean_reward());
      sum += std::abs(rollout.advantage);
    }
    EXPECT_GT(sum, 0);  // filtering leaves groups with a signal only
  }
  EXPECT_EQ(batch.metrics.get("progress/total_samples"), 32);
  EXPECT_EQ(batch.metrics.get("batch/async_level", -1), 0);
}

TEST(Orchestrator, ResumeIsBitEqual) {
  const std::uint64_t seed = rlcpp::test::fresh_seed() % 1'000'000;
  StubPolicy policy(adder(0.5), 1);
  Orchestrator whole(section_of(seed), parts_of());
  whole.attach(policy);
  std::vector<std::string> expected;
  std::string saved;
  for (int step = 0; step < 7; ++step) {
    if (step == 3) saved = whole.state().dump();
    expected.push_back(content(whole.next_batch()));
    if (step % 2 == 0) whole.validate();  // must not disturb training
  }
  StubPolicy other(adder(0.5), 99);
  Orchestrator resumed(section_of(seed), parts_of());
  resumed.attach(other);
  EXPECT_TRUE(resumed.restore(nlohmann::json::parse(saved)).empty());
  EXPECT_EQ(resumed.progress().step, 3);
  for (std::size_t step = 3; step < 7; ++step) EXPECT_EQ(content(resumed.next_batch()), expected[step]);
  StubPolicy third(adder(0.5), 99);
  Orchestrator reseeded(section_of(seed + 1), parts_of());
  reseeded.attach(third);
  EXPECT_NE(content(reseeded.next_batch()), expected[0]);
  EXPECT_THROW(resumed.restore(nlohmann::json::parse(R"({"format": 1})")), Error);
  EXPECT_THROW(resumed.restore(nlohmann::json::parse(R"({"format": 99})")), Error);
}

TEST(Orchestrator, ValidationUsesHeldOutPromptsAndFixedDraws) {
  StubPolicy policy(adder(0.5));
  Orchestrator orchestrator(section_of(), parts_of());
  orchestrator.attach(policy);
  const Orchestrator::Validation first = orchestrator.validate();
  ASSERT_EQ(first.groups.size(), 15U);
  EXPECT_EQ(first.metrics.get("val_reward/mean"), first.reward);
  EXPECT_TRUE(first.metrics.has("val_reward/add"));
  orchestrator.next_batch();
  EXPECT_EQ(orchestrator.validate().reward, first.reward);
  // No validation prompt is among the training tasks.
  std::vector<std::string> trained;
  for (std::int64_t env = 0; env < 2; ++env) {
    for (std::int64_t i = 0; i < orchestrator.environments().at(env).size(); ++i) {
      trained.push_back(orchestrator.environments().at(env).task(i).prompt.back().content);
    }
  }
  for (const Group& group : first.groups) {
    const std::string& prompt = group.task.prompt.back().content;
    const std::int64_t env = group.example.env;
    for (std::int64_t i = 0; i < orchestrator.environments().at(env).size(); ++i) {
      EXPECT_NE(orchestrator.environments().at(env).task(i).prompt.back().content, prompt);
    }
  }
  EXPECT_EQ(trained.size(), 60U);
}

TEST(Orchestrator, EvaluatesEveryEnvironment) {
  OrchestratorSection section = section_of();
  section.eval = EvalSection{};
  section.eval->num_examples = 6;
  for (const char* name : {"one", "two"}) {
    EvalEnvSection env;
    static_cast<EnvSection&>(env) = adding(name, 10);
    section.eval->env.push_back(env);
  }
  section.eval->env[1].rollouts_per_example = 2;
  StubPolicy policy(adder(1.0));
  Orchestrator orchestrator(section, parts_of());
  orchestrator.attach(policy);
  const monitor::Metrics metrics = orchestrator.evaluate_all();
  EXPECT_EQ(metrics.get("eval/one/avg@1"), 1.0);
  EXPECT_EQ(metrics.get("eval/two/avg@2"), 1.0);
}

TEST(Orchestrator, MismatchIsNamed) {
  StubPolicy policy(adder(0.5));
  Orchestrator orchestrator(section_of(), parts_of());
  orchestrator.attach(policy);
  const TrainingBatch batch = orchestrator.next_batch();
  EXPECT_FALSE(describe_mismatch(batch, std::nullopt).has_value());
  // The second document of the last row.
  std::int64_t document = 1;
  for (std::size_t row = 0; row + 1 < batch.micro_batches.size(); ++row)
    document += batch.micro_batches[row].documents();
  const auto index = static_cast<std::size_t>(batch.micro_batches.back().sample_index.at(1));
  const Group& group = batch.groups[index / 4];
  const Rollout& rollout = group.rollouts[index % 4];
  const std::string text =
      *describe_mismatch(batch, train::Mismatch{document, group.prompt_length() + 2, -0.5F, -0.25F});
  EXPECT_NE(text.find(fmt::format("step 1, rollout {} (group {}, sample {})", rollout.id, group.id,
                                  rollout.sample)),
            std::string::npos)
      << text;
  EXPECT_NE(text.find(fmt::format("completion token 2 (id {})", rollout.ids[2])), std::string::npos) << text;
  EXPECT_NE(text.find("-0.25, trained with -0.5"), std::string::npos) << text;
}

std::string refusal(const OrchestratorSection& section) {
  try {
    section.validate();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ExitCode::kBadInput);
    return e.render();
  }
  return "";
}

TEST(OrchestratorSection, RefusesWhatCannotWork) {
  const auto with = [](auto change) {
    OrchestratorSection section = section_of();
    change(section);
    return refusal(section);
  };
  EXPECT_EQ(with([](OrchestratorSection&) {}), "");
  EXPECT_NE(with([](OrchestratorSection& s) { s.rollouts_per_example = 5; }).find("not a multiple"),
            std::string::npos);
  EXPECT_NE(with([](OrchestratorSection& s) {
              s.rollouts_per_example = 1;
            }).find("rollouts_per_example = 1 leaves nothing to learn from"),
            std::string::npos);
  EXPECT_EQ(with([](OrchestratorSection& s) {
              s.rollouts_per_example = 1;
              s.advantage.reset();
            }),
            "");
  EXPECT_NE(with([](OrchestratorSection& s) { s.sampling.top_p = 0.9; }).find("top_p"), std::string::npos);
  EXPECT_NE(with([](OrchestratorSection& s) { s.sampling.top_k = 20; }).find("top_k"), std::string::npos);
  EXPECT_NE(with([](OrchestratorSection& s) { s.sampling.min_p = 0.1; }).find("min_p"), std::string::npos);
  EXPECT_NE(with([](OrchestratorSection& s) { s.sampling.min_tokens = 4; }).find("min_tokens"),
            std::string::npos);
  EXPECT_NE(
      with([](OrchestratorSection& s) { s.sampling.repetition_penalty = 1.1; }).find("repetition_penalty"),
      std::string::npos);
  EXPECT_EQ(with([](OrchestratorSection& s) { s.sampling.temperature = 0.6; }), "");
  EXPECT_NE(with([](OrchestratorSection& s) { s.sampling.max_tokens = 64; }).find("no room"),
            std::string::npos);
  EXPECT_NE(with([](OrchestratorSection& s) { s.env[1].name = "add"; }).find("called 'add'"),
            std::string::npos);
  EXPECT_NE(with([](OrchestratorSection& s) { s.buffer.env_ratios = {1.0}; }).find("1 ratios for 2"),
            std::string::npos);
  EXPECT_NE(with([](OrchestratorSection& s) {
              s.buffer.env_ratios = {1.0, 0.0};
            }).find("above 0"),
            std::string::npos);
  EXPECT_NE(with([](OrchestratorSection& s) { s.buffer.skip_verification = true; }).find("skip_verification"),
            std::string::npos);
  EXPECT_NE(with([](OrchestratorSection& s) { s.eval = EvalSection{}; }).find("no environment"),
            std::string::npos);
  EXPECT_NE(with([](OrchestratorSection& s) { s.env.clear(); }).find("empty"), std::string::npos);
}

TEST(OrchestratorSection, BindsFromTheCommandLine) {
  OrchestratorSection section;
  config::load(config::describer(section),
               {"--batch-size", "64", "--rollouts_per_example", "8", "--sampling.max_tokens", "12",
                "--val.num-examples", "5", "--env.0.id", "arithmetic", "--env.0.args.min", "3", "--advantage",
                "None", "--buffer.easy-threshold", "0.9"});
  EXPECT_EQ(section.batch_size, 64);
  EXPECT_EQ(section.rollouts_per_example, 8);
  EXPECT_EQ(section.sampling.max_tokens, 12);
  EXPECT_EQ(section.val->num_examples, 5);
  EXPECT_EQ(section.env[0].id, "arithmetic");
  EXPECT_EQ(nlohmann::json::parse(section.env[0].args)["min"], 3);
  EXPECT_FALSE(section.advantage.has_value());
  EXPECT_EQ(section.buffer.easy_threshold, 0.9);
  for (const char* key :
       {"--max-async-level", "--wandb.project", "--teacher-model.model", "--client.timeout"}) {
    OrchestratorSection other;
    EXPECT_THROW(config::load(config::describer(other), {key, "7"}), Error) << key;
  }
}

TEST(HeldOut, NeedsSomethingHeldOut) {
  const std::vector<EnvSection> sections = held_out({adding("add", 20, 5)});
  EXPECT_EQ(nlohmann::json::parse(sections[0].args)["split"], "eval");
  EXPECT_THROW(held_out({adding("add", 20)}), Error);
}

}  // namespace
}  // namespace rlcpp::orchestrator
