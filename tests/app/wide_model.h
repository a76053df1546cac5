// A small trained model with heads that every attention kernel of a GPU takes.
#pragma once

#include <filesystem>

#include "rl_run.h"

namespace rlcpp::test {

// wide/weights/step_60 in `world`, made once.
inline void make_wide_model(RlWorld& world) {
  if (std::filesystem::exists(world / "wide/weights/step_60")) return;
  world.file("wide-model/config.json",
             R"({"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "hidden_size": 128,
      "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
      "head_dim": 64, "vocab_size": 320, "max_position_embeddings": 128, "rms_norm_eps": 1e-6,
      "rope_theta": 10000, "tie_word_embeddings": true, "torch_dtype": "float32"})");
  const auto made = world.run({"sft", "--model.name", world / "wide-model", "--tokenizer.name",
                               world / "tokenizer", "--data.name", world / "sft", "--data.batch-size", "16",
                               "--data.seq-len", "64", "--optim.lr", "3e-3", "--max-steps", "60", "--device",
                               "cpu", "--output-dir", world / "wide"});
  ASSERT_EQ(made.code, 0) << made.err;
}

}  // namespace rlcpp::test
