// A line of JSONL becomes a conversation. Every refusal names the line and what was found there.
#include <algorithm>

#include <fmt/format.h>

#include "base/error.h"
#include "base/json_text.h"
#include "data/dataset.h"

namespace rlcpp::data {
namespace {

using Json = nlohmann::ordered_json;

bool is_space(std::uint32_t c) {
  return (c >= 0x09 && c <= 0x0d) || (c >= 0x1c && c <= 0x20) || c == 0x85 || c == 0xa0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f ||
         c == 0x3000;
}

// White space has at most three bytes in UTF-8; returns the length of the one at the front or the back, 0 if
// none.
std::size_t space_at_front(std::string_view s) {
  const auto byte = [&](std::size_t i) {
    return static_cast<std::uint32_t>(static_cast<unsigned char>(s[i]));
  };
  if (s.empty()) return 0;
  if (byte(0) < 0x80) return is_space(byte(0)) ? 1 : 0;
  if (s.size() >= 2 && (byte(0) & 0xe0) == 0xc0)
    return is_space((byte(0) & 0x1f) << 6 | (byte(1) & 0x3f)) ? 2 : 0;
  if (s.size() >= 3 && (byte(0) & 0xf0) == 0xe0) {
    return is_space((byte(0) & 0x0f) << 12 | (byte(1) & 0x3f) << 6 | (byte(2) & 0x3f)) ? 3 : 0;
  }
  return 0;
}

std::size_t space_at_back(std::string_view s) {
  for (std::size_t n = 1; n <= 3 && n <= s.size(); ++n) {
    if (space_at_front(s.substr(s.size() - n)) == n) return n;
  }
  return 0;
}

Error wrong(const std::string& where, const std::string& what, const std::string& found) {
  return bad_input(where + ": " + what, found, "mend this row; `rlcpp sft --help` shows the columns");
}

std::string kind_of(const Json& value) {
  return std::string("it is a JSON ") + value.type_name();
}

// OpenAI's content is text, null, or a list of parts; parts of text are joined.
std::string content_text(const Json& content, const std::string& where, const std::string& path) {
  if (content.is_null()) return {};
  if (content.is_string()) return strip(content.get_ref<const std::string&>());
  if (!content.is_array()) throw wrong(where, path + ".content is not text", kind_of(content));
  std::string text;
  for (const Json& part : content) {
    const std::string type = part.is_object() ? part.value("type", "") : "";
    if (type != "text" || !part.contains("text") || !part["text"].is_string()) {
      throw wrong(where, path + ".content has a part that is not text",
                  type.empty()
                      ? kind_of(part)
                      : fmt::format("its type is \"{}\"; images, audio and video are not supported", type));
    }
    text += part["text"].get_ref<const std::string&>();
  }
  return strip(text);
}

void decode_tool_calls(Json& calls, const std::string& where, const std::string& path) {
  if (!calls.is_array()) throw wrong(where, path + ".tool_calls is not a list", kind_of(calls));
  for (Json& call : calls) {
    if (!call.is_object())
      throw wrong(where, path + ".tool_calls has an entry that is not an object", kind_of(call));
    Json& function = call.contains("function") && call["function"].is_object() ? call["function"] : call;
    if (!function.contains("arguments") || !function["arguments"].is_string()) continue;
    const std::string text = function["arguments"].get<std::string>();
    Json decoded = parse_json<Json>(text);
    if (decoded.is_discarded())
      throw wrong(where, path + ".tool_calls: the arguments are not JSON", text.substr(0, 80));
    function["arguments"] = std::move(decoded);
  }
}

void append_message(const Json& message, const std::string& where, const std::string& path, Json& out) {
  if (!message.is_object())
    throw wrong(where, path + " is not an object with role and content", kind_of(message));
  if (!message.contains("role") || !message["role"].is_string())
    throw wrong(where, path + " has no role", message.dump().substr(0, 80));
  const std::string role = message["role"].get<std::string>();
  if (role != "system" && role != "developer" && role != "user" && role != "assistant" && role != "tool") {
    throw wrong(where, fmt::format("{}.role = \"{}\" is unknown", path, role),
                "roles are system, developer, user, assistant and tool");
  }
  Json clean = Json::object();
  for (const auto& [key, value] : message.items()) {
    if (key != "content" && !value.is_null())
      clean[key] = value;  // null: columns that another row of the set has
  }
  const bool has_calls = clean.contains("tool_calls") && !clean["tool_calls"].empty();
  if (!message.contains("content") && !has_calls)
    throw wrong(where, path + " has no content", message.dump().substr(0, 80));
  clean["content"] = content_text(message.contains("content") ? message["content"] : Json(), where, path);
  if (has_calls) {
    decode_tool_calls(clean["tool_calls"], where, path);
  } else {
    clean.erase("tool_calls");
  }
  out.push_back(std::move(clean));
}

// A list of messages, or text that is one message of `role`.
void append_messages(const Json& value, const char* column, const char* role, const std::string& where,
                     Json& out) {
  if (value.is_string() && role != nullptr) {
    out.push_back({{"role", role}, {"content", strip(value.get_ref<const std::string&>())}});
    return;
  }
  if (!value.is_array()) {
    throw wrong(
        where,
        fmt::format("column \"{}\" is not {}a list of messages", column, role != nullptr ? "text or " : ""),
        kind_of(value));
  }
  if (value.empty())
    throw wrong(where, fmt::format("column \"{}\" is an empty list", column),
                "a conversation needs messages");
  for (std::size_t i = 0; i < value.size(); ++i)
    append_message(value[i], where, fmt::format("{}[{}]", column, i), out);
}

// verifiers' {name, description, parameters} becomes OpenAI's {"type": "function", "function": {...}}.
Json openai_tools(Json tools, const std::string& where) {
  if (tools.is_string()) {
    const std::string text = tools.get<std::string>();
    if (text.empty()) return Json::array();
    tools = parse_json<Json>(text);
    if (tools.is_discarded()) throw wrong(where, "column \"tools\" is not JSON", text.substr(0, 80));
  }
  if (!tools.is_array()) throw wrong(where, "column \"tools\" is not a list", kind_of(tools));
  for (Json& tool : tools) {
    if (!tool.is_object())
      throw wrong(where, "column \"tools\" has an entry that is not an object", kind_of(tool));
    if (tool.contains("function")) continue;
    Json function = Json::object();
    for (const char* key : {"name", "description", "parameters", "strict"}) {
      if (tool.contains(key) && !tool[key].is_null()) function[key] = tool[key];
    }
    tool = {{"type", "function"}, {"function", std::move(function)}};
  }
  return tools;
}

}  // namespace

std::string strip(std::string_view text) {
  while (const std::size_t n = space_at_front(text)) text.remove_prefix(n);
  while (const std::size_t n = space_at_back(text)) text.remove_suffix(n);
  return std::string(text);
}

Conversation parse_row(std::string_view line, const std::string& where) {
  const Json row = parse_json_line<Json>(line, where);
  if (!row.is_object()) throw wrong(where, "a row is a JSON object", kind_of(row));
  const auto has = [&](const char* column) { return row.contains(column) && !row[column].is_null(); };

  Conversation out;
  out.where = where;
  if (has("messages")) {
    append_messages(row["messages"], "messages", nullptr, where, out.messages);
  } else if (has("prompt") && has("completion")) {
    append_messages(row["prompt"], "prompt", "user", where, out.messages);
    append_messages(row["completion"], "completion", "assistant", where, out.messages);
    out.plain = row["prompt"].is_string() && row["completion"].is_string();
  } else {
    std::string columns;
    for (const auto& [key, value] : row.items())
      columns += (columns.empty() ? "" : ", ") + key + (value.is_null() ? " (null)" : "");
    throw bad_input(where + ": neither column \"messages\" nor \"prompt\" and \"completion\"",
                    columns.empty() ? "the row is empty" : "it has: " + columns,
                    "rename the columns of the data set");
  }
  if (has("chat_template_kwargs")) {
    if (!row["chat_template_kwargs"].is_object()) {
      throw wrong(where, "column \"chat_template_kwargs\" is not an object",
                  kind_of(row["chat_template_kwargs"]));
    }
    for (const auto& [key, value] : row["chat_template_kwargs"].items()) {
      if (!value.is_null()) out.variables[key] = value;
    }
  }
  for (const char* column : {"tools", "tool_defs"}) {
    if (!has(column)) continue;
    Json tools = openai_tools(row[column], where);
    if (!tools.empty()) out.variables["tools"] = std::move(tools);
    break;
  }
  return out;
}

}  // namespace rlcpp::data
