// Learning BPE merges from counted words.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace rlcpp::tokenizer {

struct LearnedBpe {
  std::vector<std::string> tokens;  // bytes by id: the alphabet, then what merges made
  std::vector<std::pair<std::int32_t, std::int32_t>> merges;
};

// `words`: bytes and count; every byte of them is in `alphabet` (distinct bytes, in the order of their ids).
// Stops when there are `vocab_size` tokens or when no pair occurs `min_frequency` times. The most frequent
// pair is merged; among equals the one with the smallest left id, then the smallest right id.
LearnedBpe learn_bpe(const std::map<std::string, std::int64_t>& words, const std::string& alphabet,
                     std::int64_t vocab_size, std::int64_t min_frequency,
                     const std::function<void(std::int64_t, std::int64_t)>& progress);

}  // namespace rlcpp::tokenizer
