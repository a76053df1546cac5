// What a chat template writes between a model's response and its next one, as tokens: the end of the turn,
// the messages that answer it, and the beginning of the next turn.
//
// A conversation in which a model was sampled is never rendered anew. The tokens of earlier turns stay as
// they were sampled and read, and this is put behind them, so a conversation is one sequence in which each
// token follows exactly the text that the model saw. A template that rewrites earlier turns when later ones
// come (Qwen3 drops their thinking) therefore has no effect on turns that are past: the policy goes on seeing
// what it said.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "tokenizer/chat_template.h"
#include "tokenizer/tokenizer.h"

namespace rlcpp::data {

struct Continuation {
  // Begins with the template's end of turn (if it has one): whoever puts it behind a response that ends with
  // that very token leaves out the first.
  std::vector<std::int32_t> ids;
  // One a token: in the content of which of the new messages all its bytes lie; -1: none, the template wrote
  // it.
  std::vector<std::int32_t> message;
  struct Bytes {
    std::size_t begin = 0, end = 0;
  };
  // The content of each new message as the template wrote it (some trim it); empty where it cannot be told.
  std::vector<std::string> contents;
  // One a token: its bytes in that content, all of it where the tokenizer changed the text; none: {0, 0}.
  std::vector<Bytes> bytes;
};

// `before`: messages, the last an assistant's, whose text has no effect; `next`: at least one message.
// variables: as ChatTemplate::render wants them. Throws bad_input if the template refuses the conversation,
// or does not show the assistant's text, so that nobody can tell where its turn ends.
Continuation continue_conversation(const tokenizer::Tokenizer& tokenizer,
                                   const tokenizer::ChatTemplate& chat_template,
                                   const nlohmann::ordered_json& variables,
                                   const nlohmann::ordered_json& before, const nlohmann::ordered_json& next);

}  // namespace rlcpp::data
