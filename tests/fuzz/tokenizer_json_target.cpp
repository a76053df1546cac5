// A tokenizer.json, and what it then does to a few texts.
#include "fuzz/targets.h"
#include "tokenizer/tokenizer.h"

namespace rlcpp::fuzz {

void tokenizer_json(std::string_view bytes) {
  accepted([&] {
    const auto tokens = tokenizer::Tokenizer::from_json(std::string(bytes), "tokenizer.json");
    for (const char* text :
         {"Hello  there, it's 1234!\n\n", "Grüße é <s> 日本語 \xff 👩‍👩‍👧"}) {
      accepted([&] {
        for (const bool special : {false, true}) {
          const auto ids = tokens.encode(text, special, special);
          for (const std::int32_t id : ids)
            require(id >= 0 && id < tokens.vocab_size(), "ids lie in the vocabulary");
          tokens.decode(ids, special);
        }
      });
    }
  });
}

}  // namespace rlcpp::fuzz
