#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include "base/config/load.h"
#include "base/config/scalar.h"

namespace rlcpp::config {
namespace {

constexpr std::size_t kWidth = 100;

std::string join(const std::string& prefix, const std::string& name) {
  return prefix.empty() ? name : prefix + "." + name;
}

// A section with its keys, absent sections shown with the values they would have when switched on.
struct Group {
  std::string key;   // "" for the top level; elements of lists end in ".0"
  std::string kind;  // "", "optional, off by default", ...
  std::string doc;
  std::vector<KeyInfo> keys;
  std::vector<KeyInfo> refused;  // doc is the sentence; allowed: the values that change nothing
};

void collect(Schema& schema, Group group, std::vector<Group>& groups) {
  const std::string prefix = group.key;
  for (const auto& field : schema.fields) {
    KeyInfo info{join(prefix, field->key), type_name(*field), "",
                 allowed_text(*field),     field->unit,       field->doc};
    if (!field->also.empty()) info.doc += fmt::format(" Also called {}.", fmt::join(field->also, ", "));
    if (!field->refused.empty()) {
      info.allowed = fmt::format("{}", fmt::join(field->harmless, ", "));
      group.refused.push_back(std::move(info));
      continue;
    }
    info.default_value = scalar_to_toml(*field, field->get());
    group.keys.push_back(std::move(info));
  }
  for (const auto& table : schema.free_tables) {
    const bool empty = table.json->empty() || *table.json == "{}";
    group.keys.push_back(
        {join(prefix, table.key), "table", empty ? "{}" : *table.json, "any keys", "", table.doc});
  }
  groups.push_back(std::move(group));
  for (const Child& child : schema.children) {
    Group inner;
    inner.key = join(prefix, child.key);
    inner.doc = child.doc;
    if (!child.also.empty()) inner.doc += fmt::format(" Also called {}.", fmt::join(child.also, ", "));
    if (child.list) {
      inner.kind = child.count() == 0 ? "list of tables, empty by default"
                                      : fmt::format("list of tables, {} by default", child.count());
      inner.key += ".0";
    } else if (child.optional) {
      inner.kind = child.present() ? "optional, on by default" : "optional, off by default";
    }
    Schema inside;
    if (!child.list && child.present()) {
      child.describe(inside, 0);
    } else {
      child.describe_default(inside);
    }
    collect(inside, std::move(inner), groups);
  }
}

std::vector<Group> groups_of(const std::function<void(Schema&)>& describe) {
  Schema schema;
  describe(schema);
  std::vector<Group> groups;
  collect(schema, {}, groups);
  return groups;
}

// Stands for a blank at which no line is broken.
constexpr char kGlue = '\x01';

// Lines of at most `width` bytes, broken at blanks; a word that is longer has a line of its own.
std::vector<std::string> wrap(const std::string& text, std::size_t width) {
  std::vector<std::string> lines(1);
  std::size_t i = 0;
  while (i < text.size()) {
    const std::size_t end = std::min(text.find(' ', i), text.size());
    const std::string word = text.substr(i, end - i);
    if (!lines.back().empty() && lines.back().size() + 1 + word.size() > width) lines.emplace_back();
    if (!word.empty()) lines.back() += (lines.back().empty() ? "" : " ") + word;
    i = end + 1;
  }
  for (std::string& line : lines) std::replace(line.begin(), line.end(), kGlue, ' ');
  return lines;
}

std::string placeholder(const KeyInfo& info) {
  if (info.type == "bool") return "";
  if (info.type == "list of strings") return " A,B";
  if (info.type == "list of ints" || info.type == "list of floats") return " 1,2";
  if (info.type == "table") return ".KEY VALUE";
  std::string upper = info.type;
  std::transform(upper.begin(), upper.end(), upper.begin(),
                 [](char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c; });
  return " " + upper;
}

// A switch that is on by default is shown with what switches it off.
std::string flag_of(const KeyInfo& info) {
  const bool on = info.type == "bool" && info.default_value == "true";
  return (on ? "--[no-]" : "--") + info.key + placeholder(info);
}

// The default as a person would type it as a flag.
std::string plain_default(const KeyInfo& info) {
  std::string text = info.default_value;
  if (text == "\"None\"") return "None";
  if (info.type == "string" && text.size() >= 2) {
    const std::string inner = text.substr(1, text.size() - 2);
    return inner.empty() || inner.find(' ') != std::string::npos ? text : inner;
  }
  return text;
}

// "[Default 128 tokens; at least 1]". What the type says already is left out.
std::string facts(const KeyInfo& info) {
  const std::string value = plain_default(info);
  const bool none = value == "None";
  std::string text = "Default " + value;
  if (!info.unit.empty()) text += (none ? ", in " : " ") + info.unit;
  std::string allowed = info.allowed;
  const std::string or_none = ", or None";
  const bool optional = allowed.ends_with(or_none);
  if (optional) allowed.erase(allowed.size() - or_none.size());
  static const std::vector<std::string> trivial = {
      "true or false", "an integer",        "a number",           "a string",
      "any keys",      "a list of strings", "a list of integers", "a list of numbers"};
  if (std::find(trivial.begin(), trivial.end(), allowed) != trivial.end()) allowed.clear();
  // The type stands beside the flag: "an integer of at least 1" is "at least 1".
  for (const std::string_view type :
       {"an integer ", "a number ", "a list of integers ", "a list of numbers "}) {
    if (allowed.starts_with(type)) allowed.erase(0, type.size());
  }
  if (allowed.starts_with("of at ")) allowed.erase(0, 3);
  if (!allowed.empty()) text += "; " + allowed;
  if (optional && !none) text += allowed.empty() ? "; may be None" : or_none;
  return "[" + text + "]";
}

// The meaning and, in one piece if a line can hold it, the facts.
std::vector<std::string> explanation(const KeyInfo& info, std::size_t width) {
  std::string bracket = facts(info);
  if (bracket.size() <= width) std::replace(bracket.begin(), bracket.end(), ' ', kGlue);
  return wrap(info.doc + " " + bracket, width);
}

std::string escape_cell(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '|' || c == '<') out += '\\';
    out += c == '\n' ? ' ' : c;
  }
  return out;
}

std::string heading_of(const Group& group) {
  const bool list = group.key.size() > 2 && group.key.ends_with(".0") && group.kind.starts_with("list");
  return list ? "[[" + group.key.substr(0, group.key.size() - 2) + "]]" : "[" + group.key + "]";
}

}  // namespace

std::vector<KeyInfo> keys(const std::function<void(Schema&)>& describe) {
  std::vector<KeyInfo> all;
  for (const Group& group : groups_of(describe)) {
    if (!group.key.empty()) {
      const bool list = group.kind.starts_with("list");
      const std::string own = list ? group.key.substr(0, group.key.size() - 2) : group.key;
      const bool off = group.kind.find("off by default") != std::string::npos;
      all.push_back({own, list ? "list of tables" : "section", list ? "[]" : (off ? "\"None\"" : ""),
                     group.kind, "", group.doc});
    }
    all.insert(all.end(), group.keys.begin(), group.keys.end());
  }
  return all;
}

std::string help_text(const std::function<void(Schema&)>& describe) {
  const std::vector<Group> groups = groups_of(describe);
  // One column for all flags of usual length; a longer flag has a line of its own.
  std::size_t column = 0;
  constexpr std::size_t kLongest = 38;
  for (const Group& group : groups) {
    for (const KeyInfo& info : group.keys) {
      const std::size_t size = flag_of(info).size();
      if (size <= kLongest) column = std::max(column, size);
    }
  }
  const std::size_t indent = column + 4;
  const std::string blank(indent, ' ');
  std::string text;
  for (const Group& group : groups) {
    if (group.keys.empty() && group.key.empty()) continue;
    if (!group.key.empty()) {
      if (!text.empty()) text += '\n';
      const std::string kind = group.kind.empty() ? "" : " (" + group.kind + ")";
      const std::vector<std::string> lines = wrap(heading_of(group) + kind + " " + group.doc, kWidth);
      for (std::size_t i = 0; i < lines.size(); ++i) text += (i == 0 ? "" : "    ") + lines[i] + '\n';
    }
    for (const KeyInfo& info : group.keys) {
      const std::string flag = flag_of(info);
      const std::vector<std::string> lines = explanation(info, kWidth - indent);
      std::size_t first = 0;
      if (flag.size() <= column) {
        text += fmt::format("  {:<{}}  {}\n", flag, column, lines[0]);
        first = 1;
      } else {
        text += "  " + flag + '\n';
      }
      for (std::size_t i = first; i < lines.size(); ++i) text += blank + lines[i] + '\n';
    }
  }
  return text;
}

std::string markdown(const std::function<void(Schema&)>& describe) {
  std::string text;
  for (const Group& group : groups_of(describe)) {
    if (!group.key.empty()) {
      text += fmt::format("\n### `{}`\n\n{}{}\n", heading_of(group), group.doc,
                          group.kind.empty() ? "" : " (" + group.kind + ")");
    }
    if (!group.keys.empty()) {
      text += "\n| key | type | default | unit | allowed | meaning |\n|---|---|---|---|---|---|\n";
      for (const KeyInfo& info : group.keys) {
        text += fmt::format("| `{}` | {} | `{}` | {} | {} | {} |\n", info.key, info.type,
                            escape_cell(info.default_value), escape_cell(info.unit),
                            escape_cell(info.allowed), escape_cell(info.doc));
      }
    }
    if (!group.refused.empty()) {
      text += "\nKnown elsewhere, refused here:\n\n";
      for (const KeyInfo& info : group.refused) {
        const std::string but = info.allowed.empty() ? "" : fmt::format(" (but for `{}`)", info.allowed);
        text += fmt::format("- `{}`{}: {}\n", info.key, but, info.doc);
      }
    }
  }
  return text;
}

}  // namespace rlcpp::config
