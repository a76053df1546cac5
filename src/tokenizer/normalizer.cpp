#include "tokenizer/normalizer.h"

#include <utf8proc.h>

#include <cstdint>
#include <cstdlib>
#include <memory>

#include "base/error.h"
#include "tokenizer/unicode_tables.h"
#include "tokenizer/utf8.h"

namespace rlcpp::tokenizer {
namespace {

// Below U+0300 nothing combines, so such text is NFC (Unicode standard annex 15, NFC_Quick_Check); ASCII is
// every form. Lead bytes up to 0xCB encode code points below U+0300.
bool surely_normal(std::string_view text, Normalization form) {
  const std::uint8_t limit = form == Normalization::kNfc ? 0xCC : 0x80;
  for (const char c : text) {
    const auto byte = static_cast<std::uint8_t>(c);
    if (byte >= limit) return false;
  }
  return true;
}

int options_of(Normalization form) {
  switch (form) {
    case Normalization::kNfc:
      return UTF8PROC_STABLE | UTF8PROC_COMPOSE;
    case Normalization::kNfd:
      return UTF8PROC_STABLE | UTF8PROC_DECOMPOSE;
    case Normalization::kNfkc:
      return UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT;
    case Normalization::kNfkd:
      return UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT;
  }
  return 0;
}

}  // namespace

namespace {

void append_normal(std::string& out, std::string_view text, Normalization form) {
  if (text.empty()) return;
  utf8proc_uint8_t* result = nullptr;
  const utf8proc_ssize_t length = utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                                               static_cast<utf8proc_ssize_t>(text.size()), &result,
                                               static_cast<utf8proc_option_t>(options_of(form)));
  const std::unique_ptr<utf8proc_uint8_t, decltype(&std::free)> owner(result, std::free);
  if (length < 0) throw runtime_failure("text could not be normalised", utf8proc_errmsg(length));
  out.append(reinterpret_cast<const char*>(result), static_cast<std::size_t>(length));
}

}  // namespace

std::string normalize(std::string_view text, Normalization form) {
  if (text.empty() || surely_normal(text, form)) return std::string(text);
  // A character that the normaliser does not know is neither moved nor joined to others: it parts the text.
  std::string out;
  std::size_t begin = 0;
  for (std::size_t pos = 0; pos < text.size();) {
    const std::size_t at = pos;
    if (!contains(unknown_to_normalizer(), next_code_point(text, pos))) continue;
    append_normal(out, text.substr(begin, at - begin), form);
    out += text.substr(at, pos - at);
    begin = pos;
  }
  append_normal(out, text.substr(begin), form);
  return out;
}

}  // namespace rlcpp::tokenizer
