// The model of a run: where it comes from, its memory, its weights.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "app/run_config.h"
#include "model/decoder.h"
#include "ops/context.h"
#include "tensor/arena.h"

namespace rlcpp::app {

struct RunModel {
  model::ModelConfig config;
  std::string directory;  // empty: built-in shapes
  std::string adapters;   // directory of adapters to start from; empty: fresh ones, or none
  bool random_init = false;
  std::string text;  // one line for the banner
};

// Finds the model that `section.name` means: a directory, the id of built-in shapes if weights are to be
// random, or an id of the hub, which is taken from the cache or downloaded. `shapes_only` (benchmarks) takes
// built-in shapes without asking for random_init. Throws bad_input.
RunModel resolve_model(const ModelSection& section, std::int64_t seed, bool shapes_only);

// The directory that the tokenizer is loaded from. Throws bad_input if there is none.
std::string tokenizer_directory(const TokenizerSection& section, const RunModel& model);

// Throws bad_input if a row is longer than the model's positions, with the key that sets it.
void require_positions(const RunModel& model, std::int64_t seq_len, const std::string& key);
// The same for a model that is to be trained: one with random weights has learnt no positions yet, and is
// given as many as the rows have.
void require_trainable_positions(RunModel& model, std::int64_t seq_len, const std::string& key);
// Throws bad_input if the tokenizer has ids that the embedding has no row for.
void require_vocabulary(const RunModel& model, std::int64_t tokenizer_size, const std::string& tokenizer_dir);

struct ModelRegions {
  model::WeightRegions weights, packed, masters;  // masters: none where the decoder reads f32
  model::RopeRegions rope;
  model::AdapterRegions adapters;
};
// `masters_on_host`: where a GPU's decoder reads bf16, its f32 masters rest in the host's memory.
// Throws bad_input for dropout in the numeric mode exact.
ModelRegions plan_model(const ops::Context& ctx, const model::ModelConfig& config, MemoryPlan& plan,
                        std::int64_t positions, bool masters_on_host = false);
// The same for a model that is only read: what the decoder reads, and no masters.
ModelRegions plan_policy(const ops::Context& ctx, const model::ModelConfig& config, MemoryPlan& plan,
                         std::int64_t positions);

struct ModelMemory {
  model::WeightSet weights, packed, masters;

  // Where loading and initialisation write: f32, but for the frozen base of adapters on a GPU, which has only
  // the decoder's copy. With adapters `masters` is that base and their masters.
  const model::WeightSet& full() const { return masters.flat.empty() ? weights : masters; }
  model::RopeTables rope;
};
ModelMemory make_model(const model::ModelConfig& config, const Arena& arena, const ModelRegions& regions);
// Loads or initialises the weights and adapters; the trainer packs them.
void fill_weights(const RunModel& model, const model::WeightSet& weights, std::int64_t seed,
                  ThreadPool& pool);

// "CPU AMD EPYC, 2 threads, avx512 (no GPU: ...)".
std::string device_text(const DeviceChoice& choice, const ops::Context& ctx);
// "exact", "fast".
std::string_view name_of(ops::NumericMode mode);
// "exact on cpu", "fast on cuda": processes that say the same compute the same bits from the same weights.
std::string arithmetic_text(const ops::Context& ctx);
// The context of a run: `numeric_mode` is auto, exact or fast. `absent`: to plan with. Throws bad_input if
// the device does not know the mode, or, once it is there, not for heads of this shape.
ops::Context run_context(Device device, ThreadPool& pool, const std::string& numeric_mode, bool absent,
                         const ops::QkvShape& shape);

// "0.6 B parameters", "1.02 M parameters".
std::string parameters_text(std::int64_t parameters);

}  // namespace rlcpp::app
