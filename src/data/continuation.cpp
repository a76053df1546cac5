#include "data/continuation.h"

#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/error.h"

namespace rlcpp::data {
namespace {

using Json = nlohmann::ordered_json;
using Range = std::pair<std::size_t, std::size_t>;  // bytes [begin, end)

// No text of an environment or a model holds these by accident.
constexpr std::string_view kResponse = "rlcpp7d20c4b1response";
constexpr std::string_view kContent = "rlcpp7d20c4b1content";

// Where the content of a message lies in `text`, found by rendering another content in its place; none if
// what is around it changes too.
std::optional<Range> content_range(const std::string& text, const std::optional<std::string>& other) {
  if (!other.has_value()) return std::nullopt;
  const std::size_t begin = other->find(kContent);
  if (begin == std::string::npos) return std::nullopt;
  const std::string_view tail = std::string_view(*other).substr(begin + kContent.size());
  if (text.size() < begin + tail.size() || text.compare(0, begin, *other, 0, begin) != 0 ||
      !text.ends_with(tail))
    return std::nullopt;
  return Range(begin, text.size() - tail.size());
}

// Marks the tokens of out.ids that lie within a range. A tokenizer that normalises text may give other bytes:
// those before and behind the content of a single message are then told apart as long as they are equal.
void mark_contents(const tokenizer::Tokenizer& tokenizer, const std::string& text,
                   const std::vector<std::optional<Range>>& ranges, Continuation& out) {
  std::vector<Range> places;
  std::string bytes;
  for (const std::int32_t id : out.ids) {
    const std::size_t begin = bytes.size();
    bytes += tokenizer.token_bytes(id);
    places.emplace_back(begin, bytes.size());
  }
  out.message.assign(out.ids.size(), -1);
  out.bytes.assign(out.ids.size(), {});
  out.contents.resize(ranges.size());
  const bool same = bytes == text;
  if (!same && ranges.size() != 1) return;
  for (std::size_t m = 0; m < ranges.size(); ++m) {
    if (!ranges[m].has_value()) continue;
    auto [begin, end] = *ranges[m];
    const std::size_t behind = text.size() - end;
    if (!same) {
      if (bytes.size() < begin + behind || bytes.compare(0, begin, text, 0, begin) != 0 ||
          bytes.compare(bytes.size() - behind, behind, text, end, behind) != 0)
        continue;
      end = bytes.size() - behind;
    }
    out.contents[m] = text.substr(begin, ranges[m]->second - begin);
    for (std::size_t t = 0; t < out.ids.size(); ++t) {
      const auto [from, to] = places[t];
      if (from < begin || to > end || from == to) continue;
      out.message[t] = static_cast<std::int32_t>(m);
      out.bytes[t] = same ? Continuation::Bytes{from - begin, to - begin}
                          : Continuation::Bytes{0, out.contents[m].size()};
    }
  }
}

}  // namespace

Continuation continue_conversation(const tokenizer::Tokenizer& tokenizer,
                                   const tokenizer::ChatTemplate& chat_template, const Json& variables,
                                   const Json& before, const Json& next) {
  RLCPP_CHECK(!before.empty() && before.back().at("role") == "assistant" && !next.empty());
  Json messages = before;
  messages.back()["content"] = kResponse;
  const std::size_t first = messages.size();
  for (const Json& message : next) messages.push_back(message);
  // What follows the assistant's text.
  const auto behind_response = [&](const Json& all) -> std::optional<std::string> {
    const std::string whole = chat_template.render(all, /*add_generation_prompt=*/true, variables);
    const std::size_t at = whole.rfind(kResponse);
    if (at == std::string::npos) return std::nullopt;
    return whole.substr(at + kResponse.size());
  };
  const std::optional<std::string> text = behind_response(messages);
  if (!text.has_value()) {
    throw bad_input(
        "the chat template does not show what an assistant said when other messages follow",
        "so nobody can tell what it writes behind a response, which a conversation of several turns needs",
        "set tokenizer.chat_template to another one, or use environments of one turn");
  }
  std::vector<std::optional<Range>> ranges;
  for (std::size_t m = 0; m < next.size(); ++m) {
    Json other = messages;
    other[first + m]["content"] = kContent;
    ranges.push_back(content_range(*text, behind_response(other)));
  }
  Continuation out;
  out.ids = tokenizer.encode(*text);
  mark_contents(tokenizer, *text, ranges, out);
  return out;
}

}  // namespace rlcpp::data
