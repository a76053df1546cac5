#include "data/render.h"

#include <algorithm>
#include <optional>

#include <fmt/format.h>

#include "base/error.h"

namespace rlcpp::data {
namespace {

using Json = nlohmann::ordered_json;
constexpr std::size_t kNowhere = static_cast<std::size_t>(-1);

// Messages [begin, end) that a template renders as one turn.
struct Turn {
  std::size_t begin, end;
  std::string role;
};

std::vector<Turn> turns_of(const Json& messages) {
  std::vector<Turn> turns;
  for (std::size_t i = 0; i < messages.size(); ++i) {
    const auto role = messages[i]["role"].get<std::string>();
    if (role == "tool" && !turns.empty() && turns.back().role == "tool") {
      turns.back().end = i + 1;
    } else {
      turns.push_back({i, i + 1, role});
    }
  }
  return turns;
}

// Renders prefixes of one conversation.
class Prefixes {
 public:
  Prefixes(const tokenizer::ChatTemplate& chat_template, const Conversation& conversation, Json variables)
      : template_(chat_template), conversation_(conversation), variables_(std::move(variables)) {
    for (const auto& [key, value] : conversation.variables.items()) variables_[key] = value;
  }

  // nullopt: the template refuses this prefix, though perhaps not the whole conversation.
  std::optional<std::string> text(std::size_t messages, bool generation_prompt) const {
    if (messages == 0) return generation_prompt ? std::nullopt : std::optional<std::string>("");
    Json prefix = Json::array();
    for (std::size_t i = 0; i < messages; ++i) prefix.push_back(conversation_.messages[i]);
    return render(prefix, generation_prompt);
  }

  // Renders the whole conversation for the template's own error. Throws bad_input with the row's place.
  void explain() const {
    try {
      template_.render(conversation_.messages, false, variables_);
    } catch (const Error& e) {
      throw bad_input(conversation_.where + ": the chat template refuses this row", e.what(),
                      "mend the row, or set tokenizer.chat_template");
    }
  }

  // The bytes before the content of message `index` (the last of the prefix), found by rendering another
  // content in its place; kNowhere if the text before it changes with the content.
  std::size_t before_content(std::size_t index, const std::string& whole) const {
    Json prefix = Json::array();
    for (std::size_t i = 0; i <= index; ++i) prefix.push_back(conversation_.messages[i]);
    const std::string sentinel = "rlcpp5e1f0a7sentinel";
    prefix[index]["content"] = sentinel;
    prefix[index].erase("tool_calls");
    prefix[index].erase("reasoning_content");
    const auto rendered = render(prefix, false);
    const std::size_t at = rendered.has_value() ? rendered->find(sentinel) : std::string::npos;
    if (at == std::string::npos || whole.compare(0, at, *rendered, 0, at) != 0) return kNowhere;
    return at;
  }

 private:
  std::optional<std::string> render(const Json& prefix, bool generation_prompt) const {
    try {
      return template_.render(prefix, generation_prompt, variables_);
    } catch (const Error&) {
      return std::nullopt;
    }
  }

  const tokenizer::ChatTemplate& template_;
  const Conversation& conversation_;
  Json variables_;
};

// Where the trained part of a turn begins in `whole`, the rendering of the conversation up to and including
// it.
std::size_t start_of(const Prefixes& prefixes, const Turn& turn, const std::string& whole) {
  const auto base = prefixes.text(turn.begin, false);
  if (turn.role != "assistant") {
    if (base.has_value() && whole.starts_with(*base)) return base->size();
    return turn.end - turn.begin == 1 ? prefixes.before_content(turn.begin, whole) : kNowhere;
  }
  const auto prompt = prefixes.text(turn.begin, true);
  if (prompt.has_value() && whole.starts_with(*prompt)) return prompt->size();
  if (prompt.has_value() && base.has_value() && whole.starts_with(*base) && prompt->starts_with(*base)) {
    // The two differ inside the header (say, an empty thinking block that the answer fills): the header ends
    // there.
    const auto differ = std::mismatch(prompt->begin(), prompt->end(), whole.begin(), whole.end());
    const auto common = static_cast<std::size_t>(differ.first - prompt->begin());
    if (common > base->size()) return common;
  }
  return prefixes.before_content(turn.begin, whole);
}

}  // namespace

Renderer::Renderer(const tokenizer::Tokenizer& tokenizer, const std::string& template_override,
                   const LossMaskConfig& loss_mask)
    : tokenizer_(tokenizer), variables_(template_variables(tokenizer)), loss_mask_(loss_mask) {
  const std::string& source = template_override.empty() ? tokenizer.chat_template() : template_override;
  if (!source.empty()) template_ = std::make_unique<tokenizer::ChatTemplate>(source);
}

nlohmann::ordered_json template_variables(const tokenizer::Tokenizer& tokenizer) {
  Json variables = {{"tools", nullptr}, {"documents", nullptr}};
  if (!tokenizer.bos_token().empty()) variables["bos_token"] = tokenizer.bos_token();
  if (!tokenizer.eos_token().empty()) variables["eos_token"] = tokenizer.eos_token();
  if (!tokenizer.pad_token().empty()) variables["pad_token"] = tokenizer.pad_token();
  return variables;
}

Renderer::~Renderer() = default;
Renderer::Renderer(Renderer&&) noexcept = default;

std::vector<Segment> Renderer::segments(const Conversation& conversation,
                                        std::int64_t* unaligned_turns) const {
  if (template_ == nullptr) {
    if (!conversation.plain) {
      throw bad_input(conversation.where + ": messages need a chat template, and the tokenizer has none",
                      tokenizer_.directory().empty() ? std::string() : "tokenizer: " + tokenizer_.directory(),
                      "set tokenizer.chat_template, or use text in the columns prompt and completion");
    }
    Segment segment;
    segment.text = conversation.messages[0]["content"].get<std::string>();
    const std::size_t prompt = segment.text.size();
    segment.text += conversation.messages[1]["content"].get<std::string>();
    if (loss_mask_.user && prompt > 0) segment.trained.push_back({0, prompt});
    if (loss_mask_.assistant && segment.text.size() > prompt)
      segment.trained.push_back({prompt, segment.text.size()});
    return {segment};
  }

  const Prefixes prefixes(*template_, conversation, variables_);
  std::vector<Segment> done;
  Segment current;
  for (const Turn& turn : turns_of(conversation.messages)) {
    if (!loss_mask_.of(turn.role)) continue;
    auto whole = prefixes.text(turn.end, false);
    // Nothing was left out of it, so the template's own words are the error.
    if (!whole.has_value() && turn.end == conversation.messages.size()) prefixes.explain();
    std::size_t begin = whole.has_value() ? start_of(prefixes, turn, *whole) : kNowhere;
    if (begin == kNowhere || begin >= whole->size()) {
      if (unaligned_turns != nullptr) ++*unaligned_turns;
      continue;
    }
    if (!whole->starts_with(current.text)) {
      // Earlier turns read differently now: what was trained so far stands as it was then.
      done.push_back(std::move(current));
      current = Segment{};
    }
    if (!current.trained.empty()) begin = std::max(begin, current.text.size());
    current.text = std::move(*whole);
    current.trained.push_back({begin, current.text.size()});
  }
  if (!current.trained.empty()) done.push_back(std::move(current));
  return done;
}

// Trained and untrained parts are encoded apart, so that no token spans both. It is what happens when the
// model is used: the prompt is encoded, and the answer begins with a token of its own.
Sample Renderer::tokenise(const Segment& segment) const {
  Sample sample;
  const auto add = [&](std::size_t begin, std::size_t end, bool trained) {
    if (begin == end) return;
    const auto ids = tokenizer_.encode(std::string_view(segment.text).substr(begin, end - begin));
    sample.ids.insert(sample.ids.end(), ids.begin(), ids.end());
    sample.mask.insert(sample.mask.end(), ids.size(), trained ? 1 : 0);
  };
  std::size_t at = 0;
  for (std::size_t i = 0; i < segment.trained.size(); ++i) {
    auto [begin, end] = segment.trained[i];
    while (i + 1 < segment.trained.size() && segment.trained[i + 1].first == end)
      end = segment.trained[++i].second;
    add(at, begin, false);
    add(begin, end, true);
    at = end;
  }
  add(at, segment.text.size(), false);
  const std::int32_t eos = tokenizer_.eos_id();
  if (eos >= 0 && std::find(sample.ids.begin(), sample.ids.end(), eos) == sample.ids.end()) {
    sample.ids.push_back(eos);
    sample.mask.push_back(1);
  }
  if (!sample.mask.empty()) sample.mask[0] = 0;  // the first token has no prediction
  return sample;
}

Rendered Renderer::render(const Conversation& conversation) const {
  Rendered out;
  for (const Segment& segment : segments(conversation, &out.unaligned_turns)) {
    if (segment.trained.empty()) continue;
    out.lost_bytes += tokenizer_.lost_bytes(segment.text);
    Sample sample = tokenise(segment);
    if (std::find(sample.mask.begin(), sample.mask.end(), 1) != sample.mask.end())
      out.samples.push_back(std::move(sample));
  }
  if (out.samples.empty()) {
    std::string roles;
    for (const Turn& turn : turns_of(conversation.messages)) roles += (roles.empty() ? "" : ", ") + turn.role;
    throw bad_input(
        conversation.where + ": the row has no token to train",
        out.unaligned_turns > 0
            ? fmt::format("the chat template hides where {} of its turns begin", out.unaligned_turns)
            : fmt::format("its turns are: {}", roles),
        "remove the row, give it an assistant turn, or change data.loss_mask");
  }
  return out;
}

}  // namespace rlcpp::data
