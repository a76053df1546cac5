#include "app/chat_session.h"

#include <algorithm>
#include <chrono>

#include <fmt/format.h>

#include "base/error.h"
#include "base/rng.h"
#include "base/utf8.h"
#include "data/render.h"
#include "tokenizer/utf8.h"

namespace rlcpp::app {
namespace {

// Bytes at the end of `text` that may be the beginning of a character.
std::size_t unfinished_bytes(std::string_view text) {
  for (std::size_t back = 1; back <= std::min<std::size_t>(3, text.size()); ++back) {
    const auto byte = static_cast<unsigned char>(text[text.size() - back]);
    if (byte < 0x80) return 0;
    if (byte < 0xC0) continue;  // inside a character
    const std::size_t length = byte >= 0xF0 ? 4 : byte >= 0xE0 ? 3 : 2;
    return length > back ? back : 0;
  }
  return 0;
}

std::string without_controls(std::string_view text) {
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    const utf8::Codepoint c = utf8::decode(text, at);
    const bool control =
        (c.value < 0x20 && c.value != '\n' && c.value != '\t') || (c.value >= 0x7F && c.value < 0xA0);
    if (!control) out += text.substr(at, c.length);
    at += c.length;
  }
  return out;
}

}  // namespace

std::string TextStream::feed(std::string_view bytes) {
  held_ += bytes;
  const std::size_t ready = held_.size() - unfinished_bytes(held_);
  std::string text = without_controls(tokenizer::lossy_utf8(held_.substr(0, ready)));
  held_.erase(0, ready);
  return text;
}

std::string TextStream::finish() {
  std::string text = without_controls(tokenizer::lossy_utf8(held_));
  held_.clear();
  return text;
}

ChatSession::ChatSession(rollout::Engine& engine, const tokenizer::Tokenizer& tokenizer,
                         const std::string& template_source, ChatOptions options)
    : engine_(engine), tokenizer_(tokenizer), options_(std::move(options)) {
  if (!template_source.empty()) template_ = std::make_unique<tokenizer::ChatTemplate>(template_source);
  nlohmann::ordered_json variables = data::template_variables(tokenizer);
  variables.update(options_.variables);
  options_.variables = std::move(variables);
  reset();
}

void ChatSession::reset() {
  messages_ = nlohmann::ordered_json::array();
  plain_ = options_.system;
  if (!options_.system.empty()) messages_.push_back({{"role", "system"}, {"content", options_.system}});
}

std::vector<std::int32_t> ChatSession::prompt_ids() const {
  if (template_ == nullptr) return tokenizer_.encode(plain_, true, true);
  return tokenizer_.encode(template_->render(messages_, true, options_.variables));
}

ChatReply ChatSession::say(const std::string& text, const std::function<void(std::string_view)>& show) {
  const nlohmann::ordered_json messages_before = messages_;
  const std::string plain_before = plain_;
  messages_.push_back({{"role", "user"}, {"content", text}});
  plain_ += text;
  rollout::GroupRequest request;
  request.prompt = prompt_ids();
  const auto prompt = static_cast<std::int64_t>(request.prompt.size());
  if (prompt == 0 || prompt >= options_.max_model_len) {
    messages_ = messages_before;
    plain_ = plain_before;
    if (prompt == 0)
      throw bad_input("there is nothing to answer", "the prompt has no tokens", "say something");
    throw bad_input("the conversation is longer than its window",
                    fmt::format("{} tokens, and {} fit with the answer", prompt, options_.max_model_len),
                    "say less, begin anew with /new, or give it more with --context");
  }
  request.id = turn_;
  request.max_tokens =
      static_cast<std::int32_t>(std::min(options_.max_tokens, options_.max_model_len - prompt));
  request.sampling = options_.sampling;
  request.seeds = {mix64(options_.seed, static_cast<std::uint64_t>(turn_))};
  request.stop_ids = options_.stop_ids;
  request.adapter = options_.adapter;
  ++turn_;

  ChatReply reply;
  reply.prompt_tokens = prompt;
  const std::int64_t cached_before = engine_.stats().cached_tokens;
  const auto start = std::chrono::steady_clock::now();
  TextStream stream;
  std::size_t shown = 0;
  const auto show_new = [&](std::span<const std::int32_t> ids) {
    for (; shown < ids.size(); ++shown) {
      if (tokenizer_.is_special(ids[shown])) continue;
      const std::string piece = stream.feed(tokenizer_.token_bytes(ids[shown]));
      reply.text += piece;
      if (show && !piece.empty()) show(piece);
    }
  };
  const std::int64_t id = request.id;
  engine_.submit(std::move(request));
  while (!engine_.idle()) {
    for (const rollout::SampledSequence& done : engine_.step()) {
      show_new(done.ids);
      reply.ids = done.ids;
      reply.finish = rollout::name_of(done.finish);
    }
    for (const auto& ids : engine_.outputs(id)) show_new(ids);
  }
  const std::string rest = stream.finish();
  reply.text += rest;
  if (show && !rest.empty()) show(rest);
  reply.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  reply.cached_tokens = engine_.stats().cached_tokens - cached_before;
  messages_.push_back({{"role", "assistant"}, {"content", reply.text}});
  plain_ += reply.text;
  return reply;
}

}  // namespace rlcpp::app
