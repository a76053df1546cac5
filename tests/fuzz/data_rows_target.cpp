// A row of a data set.
#include "data/dataset.h"
#include "fuzz/targets.h"

namespace rlcpp::fuzz {

void data_rows(std::string_view bytes) {
  accepted([&] {
    const data::Conversation row = data::parse_row(bytes, "fuzz.jsonl:1");
    require(row.messages.is_array() && !row.messages.empty(), "a row has messages");
    for (const auto& message : row.messages) {
      require(message.at("role").is_string(), "a message has a role");
      require(message.at("content").is_string(), "a message has text");
    }
  });
}

}  // namespace rlcpp::fuzz
