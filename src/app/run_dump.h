// The packed rows of a step as data for other programs (key data.dump).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/batch.h"

namespace rlcpp::app {

// Adds one line to the file: {"step": 1, "rows": [{"ids": [...], "cu_seqlens": [...], "mask": [...]}, ...]},
// a row a micro-batch. A run that is resumed adds to the same file; where a step occurs twice, both lines
// hold the same rows. Throws Error if it cannot be written.
void dump_rows(const std::string& path, std::int64_t step, const std::vector<data::MicroBatch>& batches);

}  // namespace rlcpp::app
