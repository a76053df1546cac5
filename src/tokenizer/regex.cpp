#include "tokenizer/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <fmt/format.h>
#include <pcre2.h>

#include "base/error.h"

namespace rlcpp::tokenizer {
namespace {

struct CodeDeleter {
  void operator()(pcre2_code* code) const { pcre2_code_free(code); }
};
struct MatchDeleter {
  void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
};
using MatchData = std::unique_ptr<pcre2_match_data, MatchDeleter>;

std::string message_of(int code) {
  PCRE2_UCHAR buffer[256];
  pcre2_get_error_message(code, buffer, sizeof buffer);
  return reinterpret_cast<const char*>(buffer);
}

std::size_t next_character(std::string_view text, std::size_t pos) {
  ++pos;
  while (pos < text.size() && (static_cast<unsigned char>(text[pos]) & 0xC0) == 0x80) ++pos;
  return pos;
}

}  // namespace

struct Regex::State {
  std::string pattern;
  std::string where;
  std::unique_ptr<pcre2_code, CodeDeleter> code;
  bool jit = false;
};

Regex::Regex(const std::string& pattern, const std::string& where) : state_(std::make_unique<State>()) {
  state_->pattern = pattern;
  state_->where = where;
  const std::string translated = translate_pattern(pattern, where);
  int error = 0;
  PCRE2_SIZE offset = 0;
  // Ruby's ^ and $ are those of lines; its dot leaves out the line feed alone.
  const std::uint32_t options =
      PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_ALT_CIRCUMFLEX | PCRE2_NEVER_BACKSLASH_C;
  std::unique_ptr<pcre2_compile_context, decltype(&pcre2_compile_context_free)> context(
      pcre2_compile_context_create(nullptr), pcre2_compile_context_free);
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  state_->code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
                                   options, &error, &offset, context.get()));
  if (state_->code == nullptr) {
    throw bad_input(fmt::format("{}: the regular expression {} does not compile", where, pattern),
                    fmt::format("{} (at character {})", message_of(error), offset));
  }
  // Where the system forbids writable code pages the interpreter serves, with the same matches.
  state_->jit = pcre2_jit_compile(state_->code.get(), PCRE2_JIT_COMPLETE) == 0;
}

Regex::~Regex() = default;
Regex::Regex(Regex&&) noexcept = default;
Regex& Regex::operator=(Regex&&) noexcept = default;

void Regex::find_all(std::string_view text, std::vector<Span>& out) const {
  const MatchData data(pcre2_match_data_create(1, nullptr));
  const auto subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  const PCRE2_SIZE* ovector = pcre2_get_ovector_pointer(data.get());
  std::size_t pos = 0;
  std::size_t last_end = std::string_view::npos;  // an empty match right behind a match does not count
  while (pos <= text.size()) {
    int rc = PCRE2_ERROR_JIT_STACKLIMIT;
    if (state_->jit) {
      rc = pcre2_jit_match(state_->code.get(), subject, text.size(), pos, PCRE2_NO_UTF_CHECK, data.get(),
                           nullptr);
    }
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT) {  // also: no JIT at all
      rc = pcre2_match(state_->code.get(), subject, text.size(), pos, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT,
                       data.get(), nullptr);
    }
    if (rc == PCRE2_ERROR_NOMATCH) return;
    if (rc < 0) {
      throw bad_input(
          fmt::format("{}: the regular expression {} gave up on a text", state_->where, state_->pattern),
          fmt::format("{} at byte {} of {}", message_of(rc), pos, text.size()));
    }
    const Span span{ovector[0], ovector[1]};
    if (span.begin == span.end) {
      if (span.begin != last_end) out.push_back(span);
      pos = span.end < text.size() ? next_character(text, span.end) : text.size() + 1;
    } else {
      out.push_back(span);
      pos = span.end;
    }
    last_end = span.end;
  }
}

}  // namespace rlcpp::tokenizer
