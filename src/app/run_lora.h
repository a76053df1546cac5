// LoRA of a run: from the section model.lora to the adapters of the model.
#pragma once

#include <string>

#include "app/run_config.h"
#include "model/adapters.h"
#include "ops/context.h"

namespace rlcpp::app {

// Throws bad_input for a layer that cannot have an adapter, for modules_to_save, and if the directory
// model.lora.name holds another adapter than the section describes. `base`: the model's name.
model::AdapterConfig adapters_of(const LoraSection& section, const std::string& base);

// Throws bad_input for a rank above that of every layer that has an adapter: B A would be no smaller than W,
// and more than W can be.
void require_useful_rank(const model::ModelConfig& config);

// "LoRA rank 16 on q,k,v,o,gate,up,down: 10.09 M trained of 596.05 M parameters".
std::string adapters_text(const model::ModelConfig& config);

// Throws bad_input if adapters have dropout where the trainer must compute what the engine does.
void require_no_dropout(const ops::Context& ctx, const model::ModelConfig& config);

}  // namespace rlcpp::app
