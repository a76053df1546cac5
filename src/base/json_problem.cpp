#include "base/json_problem.h"

#include <algorithm>
#include <cstddef>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/log.h"
#include "base/utf8.h"

namespace rlcpp {
namespace {

constexpr int kMissingKey = 403, kNumberOverflow = 406;

// "[json.exception.type_error.302] type must be number, but is string" without its head.
std::string_view without_name(std::string_view text) {
  const std::size_t end = text.find("] ");
  return text.starts_with("[json.exception.") && end != std::string_view::npos ? text.substr(end + 2) : text;
}

std::string where_it_ends(std::size_t byte, std::string_view text) {
  if (text.find_first_not_of(" \t\r\n") == std::string_view::npos) return "it is empty";
  const std::size_t at = std::min(byte == 0 ? 0 : byte - 1, text.size());
  const std::string_view before = text.substr(0, at);
  const auto line = 1 + std::count(before.begin(), before.end(), '\n');
  // Behind the last line feed; npos + 1 is 0.
  const std::size_t column = at - (before.rfind('\n') + 1) + 1;
  if (at == text.size()) return fmt::format("it ends too soon, in line {} (after {} bytes)", line, at);
  const char* why = utf8::is_valid(text) ? "" : "; not all of it is UTF-8";
  return fmt::format("it stops being JSON at line {}, column {} (byte {}){}", line, column, at + 1, why);
}

}  // namespace

std::string json_problem(const std::exception& problem, std::string_view text) {
  const auto* json = dynamic_cast<const nlohmann::json::exception*>(&problem);
  if (json == nullptr) return "a number in it is none";  // std::stoul and the like
  const auto* parsing = dynamic_cast<const nlohmann::json::parse_error*>(&problem);
  if (parsing != nullptr && parsing->byte > 0 && text.data() != nullptr)
    return where_it_ends(parsing->byte, text);
  std::string said = printable(without_name(problem.what()));
  // Of no place: what parse_json_or_throw() says of JSON that is nested too deep.
  if (parsing != nullptr && parsing->byte == 0) return said.substr(said.find(": ") + 2);
  if (json->id == kMissingKey && said.starts_with("key ")) {
    return fmt::format("it has no key {}", said.substr(4, said.rfind(" not found") - 4));
  }
  if (json->id == kNumberOverflow) return "a number is beyond what JSON's readers hold";
  if (said.starts_with("type must be ")) said = "a value has another type: it " + said.substr(5);
  return said;
}

}  // namespace rlcpp
