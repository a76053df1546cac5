// Texts to train a tokenizer on.
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace rlcpp::tokenizer {

// The texts of files, in order. A .jsonl file gives, of each line, all strings within messages, prompt,
// completion and text (contents, reasoning, arguments of tool calls; no roles, types or ids); any other file
// is one text a line. `progress` gets the bytes read so far. Throws bad_input with file and line.
std::vector<std::string> read_texts(const std::vector<std::string>& files,
                                    const std::function<void(std::int64_t bytes)>& progress = {});

}  // namespace rlcpp::tokenizer
