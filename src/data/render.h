// A conversation becomes tokens with a mask: chat template, then tokenizer.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "data/batch.h"
#include "data/config.h"
#include "data/dataset.h"
#include "tokenizer/chat_template.h"
#include "tokenizer/tokenizer.h"

namespace rlcpp::data {

struct Rendered {
  // Usually one. A template that rewrites earlier turns when later ones follow (Qwen3 drops earlier thinking)
  // gives one for each turn whose history was rewritten, so that every trained turn stands behind exactly the
  // text that the model sees when it has to produce that turn, and is trained once.
  std::vector<Sample> samples;
  std::int64_t unaligned_turns =
      0;                       // turns that could not be found in the rendered text; they are not trained
  std::size_t lost_bytes = 0;  // without a token: left out
};

// Text with the parts that are trained, as bytes [begin, end), ascending and disjoint. Exposed for tests and
// --dry-run.
struct Segment {
  std::string text;
  std::vector<std::pair<std::size_t, std::size_t>> trained;
};

// Names that transformers gives every template besides the messages: bos_token, eos_token, pad_token as far
// as the tokenizer has them, and tools and documents as none.
nlohmann::ordered_json template_variables(const tokenizer::Tokenizer& tokenizer);

class Renderer {
 public:
  // `template_override` replaces the tokenizer's chat template if not empty. The tokenizer must outlive the
  // renderer.
  Renderer(const tokenizer::Tokenizer& tokenizer, const std::string& template_override,
           const LossMaskConfig& loss_mask);
  ~Renderer();
  Renderer(Renderer&&) noexcept;

  // The rule, with prime-rl's result wherever growing prefixes of the conversation render to growing texts: a
  // turn's text is what its message adds; of an assistant's turn, the header that a generation prompt would
  // add is not trained, its end-of-turn token is. Consecutive tool messages are one turn. Messages after the
  // last trained turn are left out. The end-of-sequence token is appended, trained, if it does not occur.
  // Throws bad_input with the row's place if the template refuses it or nothing of it is trained.
  Rendered render(const Conversation& conversation) const;
  std::vector<Segment> segments(const Conversation& conversation, std::int64_t* unaligned_turns) const;

 private:
  Sample tokenise(const Segment& segment) const;

  const tokenizer::Tokenizer& tokenizer_;
  std::unique_ptr<tokenizer::ChatTemplate> template_;  // null: none
  nlohmann::ordered_json variables_;
  LossMaskConfig loss_mask_;
};

}  // namespace rlcpp::data
