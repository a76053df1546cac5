#include "base/config/bind.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>

#include "base/config/scalar.h"
#include "base/error.h"
#include "base/json_text.h"
#include "base/log.h"
#include "base/utf8.h"

namespace rlcpp::config {
namespace {

using Json = nlohmann::json;

Json json_from_node(const Node& node, std::vector<Problem>& problems) {
  switch (node.kind) {
    case Node::Kind::kBool:
      return node.boolean;
    case Node::Kind::kInt:
      return node.integer;
    case Node::Kind::kFloat:
      if (!std::isfinite(node.real)) {
        problems.push_back(
            {node.place, "a free table cannot hold inf or nan", "it is kept as JSON", "use a finite number"});
      }
      return node.real;
    case Node::Kind::kString:
      return node.is_none() ? Json() : Json(node.text);
    case Node::Kind::kDate:
      return node.text;
    case Node::Kind::kTable: {
      Json table = Json::object();
      for (const Entry& entry : node.entries) table[entry.key] = json_from_node(entry.value, problems);
      return table;
    }
    case Node::Kind::kArray: {
      Json array = Json::array();
      for (const Node& item : node.items) array.push_back(json_from_node(item, problems));
      return array;
    }
  }
  return {};
}

void merge(Json& into, const Json& from) {
  if (!into.is_object() || !from.is_object()) {
    into = from;
    return;
  }
  for (const auto& [key, value] : from.items()) merge(into[key], value);
}

Json parse_free(const std::string& text) {
  if (text.empty()) return Json::object();
  Json json = Json::parse(text, nullptr, false);
  RLCPP_CHECK(json.is_object());
  return json;
}

}  // namespace

Problem refused_key(const Place& place, const std::string& key, const std::string& sentence) {
  const std::string what = key + " is not supported";
  const std::size_t colon = sentence.rfind(": ");
  if (colon == std::string::npos) return {place, what, sentence, "remove " + key};
  const std::string reason = sentence.substr(0, colon), mend = sentence.substr(colon + 2);
  // Said once: most reasons are that very statement.
  if (reason.find("not supported") != std::string::npos) return {place, reason, {}, mend};
  return {place, what, reason, mend};
}

bool is_harmless(const Field& refused, const Node& value) {
  std::vector<Problem> ignored;
  const std::string text = json_from_node(value, ignored).dump();
  return std::find(refused.harmless.begin(), refused.harmless.end(), text) != refused.harmless.end();
}

bool is_harmless(const Field& refused, const std::string& flag_text) {
  Json value = parse_json<Json>(flag_text == "None" ? "null" : flag_text);
  if (value.is_discarded()) value = flag_text;
  if (flag_text == "True" || flag_text == "False") value = flag_text == "True";
  const std::string text = value.dump(-1, ' ', false, Json::error_handler_t::replace);
  return std::find(refused.harmless.begin(), refused.harmless.end(), text) != refused.harmless.end();
}

namespace {

Problem refusal(const Place& place, const std::string& key, const Field& field) {
  return refused_key(place, key, field.refused);
}

const std::string* refused_choice(const Field& field, const std::string& text) {
  for (const auto& [choice, sentence] : field.instead) {
    if (choice == text) return &sentence;
  }
  return nullptr;
}

}  // namespace

Binder::Binder(const std::function<void(Schema&)>& describe, Loaded& loaded)
    : describe_(describe), loaded_(loaded), known_(all_keys(describe)) {}

void Binder::record(const std::string& key, const Place& place) {
  loaded_.origins[key] = place.short_text();
}

void Binder::forget(const std::string& prefix) {
  std::erase_if(loaded_.origins, [&](const auto& item) {
    return item.first == prefix || item.first.starts_with(prefix + ".");
  });
}

Problem Binder::unknown(const std::string& key, const Place& place, const std::string& hint) const {
  Problem problem{place, printable(key) + " is not a known key", hint, {}};
  // Elements of lists are known as element 0; the answer names the element that was meant.
  std::vector<std::string> parts = split_key(key);
  std::vector<std::string> asked = parts;
  for (std::string& part : asked) {
    if (!part.empty() && part.find_first_not_of("0123456789") == std::string::npos) part = "0";
  }
  const std::string wanted = fmt::format("{}", fmt::join(asked, "."));
  Schema schema;
  describe_(schema);
  std::string near = walk(schema, asked, false).meant;
  if (near.empty()) near = nearest(wanted, known_.supported);
  std::string refused;
  // A whole section in place of one key of it tells nobody anything.
  if (wanted.starts_with(near + ".")) near.clear();
  if (near.empty()) {
    near = nearest(wanted, known_.refused);
    if (!near.empty()) refused = walk(schema, split_key(near), false).field->refused;
  }
  if (near.empty()) {
    if (problem.because.empty()) problem.help = "the command's --help lists all keys";
    return problem;
  }
  std::vector<std::string> found = split_key(near);
  for (std::size_t i = 0; i < found.size() && i < parts.size(); ++i) {
    if (found[i] == "0" && asked[i] == "0") found[i] = parts[i];
  }
  near = fmt::format("{}", fmt::join(found, "."));
  if (near == key) {  // right but for the number of the element, which `hint` explains
    problem.help = "elements are counted from 0 and added one after the other";
    return problem;
  }
  if (place.file == nullptr) near = "--" + near;
  problem.help = refused.empty()
                     ? "the key probably meant is " + near
                     : fmt::format("{} is probably meant, and is not supported: {}", near, refused);
  return problem;
}

void Binder::bind_file(const Node& table, const std::vector<std::string>& path, const Place& asked_at) {
  Schema schema;
  describe_(schema);
  if (path.empty()) {
    bind_table(schema, table, "");
  } else {
    const Target probe = walk(schema, path, false);
    const std::string key = fmt::format("{}", fmt::join(path, "."));
    if (probe.kind == Target::Kind::kUnknown && probe.hint.empty())
      throw_problems({unknown(key, asked_at, "")});
    if (probe.kind == Target::Kind::kRefused) throw_problems({refusal(asked_at, probe.key, *probe.field)});
    if (probe.kind == Target::Kind::kFree) {
      bind_free(*walk(schema, path, true).free, table, probe.rest, probe.key);
    } else if (probe.kind == Target::Kind::kSection) {
      const Target target = walk(schema, path, true);
      bind_table(*target.inside, table, target.key);
    } else {
      const std::string why = probe.kind == Target::Kind::kField ? key + " is a value, not a section"
                              : probe.kind == Target::Kind::kList
                                  ? key + " is a list; name an element, as in " + key + ".0"
                                  : probe.hint;
      throw_problems(
          {{asked_at, "a file cannot be put under " + key, why, "give a section: --optim @ file.toml"}});
    }
  }
  throw_problems(std::exchange(problems_, {}));
}

// A key and another name of it, both given: neither can win, since a table has no order.
void Binder::require_one_name(Schema& schema, const Node& table, const std::string& prefix) {
  std::vector<std::pair<const void*, const Entry*>> seen;
  for (const Entry& entry : table.entries) {
    const Field* field = find_field(schema, entry.key);
    const void* found = field != nullptr ? static_cast<const void*>(field)
                                         : static_cast<const void*>(find_child(schema, entry.key));
    if (found == nullptr) continue;
    for (const auto& [other, first] : seen) {
      if (other != found || first->key == entry.key) continue;
      const std::string dot = prefix.empty() ? "" : prefix + ".";
      problems_.push_back(
          {entry.place,
           fmt::format("{}{} and {}{} are two names of one key", dot, entry.key, dot, first->key),
           {},
           "remove one of them"});
    }
    seen.emplace_back(found, &entry);
  }
}

void Binder::bind_table(Schema& schema, const Node& table, const std::string& prefix) {
  require_one_name(schema, table, prefix);
  for (const Entry& entry : table.entries) {
    bind_entry(schema, entry, prefix);
  }
}

void Binder::bind_entry(Schema& schema, const Entry& entry, const std::string& prefix) {
  const std::string dot = prefix.empty() ? "" : prefix + ".";
  const std::string key = dot + entry.key;
  if (Field* field = find_field(schema, entry.key)) {
    bind_field(*field, entry, dot + field->key);
  } else if (Schema::FreeTable* free = find_free(schema, entry.key)) {
    if (entry.value.kind != Node::Kind::kTable) {
      problems_.push_back(
          {entry.place, key + " must be a table", "it is " + kind_name(entry.value), "write [" + key + "]"});
    } else {
      bind_free(*free, entry.value, {}, key);
    }
  } else if (Child* child = find_child(schema, entry.key)) {
    bind_child(*child, entry, dot + child->key);
  } else if (entry.key == "toml_files") {
    problems_.push_back(
        {entry.place, key + " is not allowed here",
         "only a whole configuration file can inherit from others, not a section or a file put under a key",
         "move toml_files to the top of a file given as @ FILE"});
  } else {
    problems_.push_back(unknown(key, entry.place, ""));
  }
}

void Binder::bind_child(Child& child, const Entry& entry, const std::string& key) {
  const Node& node = entry.value;
  if (child.list) {
    const bool tables = node.kind == Node::Kind::kArray &&
                        std::all_of(node.items.begin(), node.items.end(),
                                    [](const Node& item) { return item.kind == Node::Kind::kTable; });
    if (!tables) {
      problems_.push_back({entry.place, key + " must be a list of tables", "it is " + kind_name(node),
                           "write [[" + key + "]]"});
      return;
    }
    forget(key);
    child.resize(0);  // a list replaces the one before it, and new elements begin with defaults
    child.resize(node.items.size());
    record(key, entry.place);
    for (std::size_t i = 0; i < node.items.size(); ++i) {
      Schema inside;
      child.describe(inside, i);
      bind_table(inside, node.items[i], fmt::format("{}.{}", key, i));
    }
    return;
  }
  // Where the reference once had a switch (bench) or has a section, both are understood.
  if (child.optional && node.kind == Node::Kind::kBool && node.boolean) {
    child.set_present(true);
    record(key, entry.place);
    return;
  }
  if (child.optional && (node.is_none() || node.kind == Node::Kind::kBool)) {
    child.set_present(false);
    forget(key);
    record(key, entry.place);
    return;
  }
  if (node.is_none()) {
    problems_.push_back(refused_key(entry.place, key + " = \"None\"", kAlwaysThere));
    return;
  }
  if (node.kind != Node::Kind::kTable) {
    problems_.push_back({entry.place,
                         fmt::format("{} must be a table{}", key, child.optional ? " or \"None\"" : ""),
                         "it is " + kind_name(node), fmt::format("write [{}] and its keys below it", key)});
    return;
  }
  if (child.optional) {
    child.set_present(true);
    record(key, entry.place);
  }
  Schema inside;
  child.describe(inside, 0);
  bind_table(inside, node, key);
}

void Binder::bind_field(Field& field, const Entry& entry, const std::string& key) {
  if (!field.refused.empty()) {
    if (!is_harmless(field, entry.value)) problems_.push_back(refusal(entry.place, key, field));
    return;
  }
  if (const std::string* sentence = refused_choice(field, entry.value.text)) {
    problems_.push_back(refused_key(entry.value.place, key + " = \"" + entry.value.text + "\"", *sentence));
    return;
  }
  Problem problem{entry.value.place, fmt::format("{} must be {}", key, allowed_text(field)), {}, {}};
  const auto value = scalar_from_node(field, entry.value, problem);
  if (!value.has_value()) {
    problems_.push_back(std::move(problem));
    return;
  }
  field.set(*value);
  record(key, entry.place);
}

void Binder::bind_free(Schema::FreeTable& free, const Node& table, const std::vector<std::string>& rest,
                       const std::string& key) {
  Json patch = json_from_node(table, problems_);
  if (rest.empty()) {
    for (const Entry& entry : table.entries) record(key + "." + entry.key, entry.place);
  }
  for (std::size_t i = rest.size(); i-- > 0;) patch = Json{{rest[i], std::move(patch)}};
  Json json = parse_free(*free.json);
  merge(json, patch);
  *free.json = json.dump();
  record(key, table.place);
}

void Binder::bind_flag(const Target& probe, const std::vector<std::string>& path, const std::string& text,
                       const Place& place) {
  if (!utf8::is_valid(text)) {
    throw_problems(
        {{place, fmt::format("\"{}\" is not valid UTF-8", printable(text)), "values are text", {}}});
  }
  for (const std::string& part : path) {  // keys of a free table are anybody's
    if (utf8::is_valid(part)) continue;
    throw_problems(
        {{place, fmt::format("the key \"{}\" is not valid UTF-8", printable(part)), "keys are text", {}}});
  }
  if (probe.kind == Target::Kind::kField) {
    if (const std::string* sentence = refused_choice(*probe.field, text))
      throw_problems({refused_key(place, probe.key + " = " + text, *sentence)});
    Problem problem{place, fmt::format("{} must be {}", probe.key, allowed_text(*probe.field)), {}, {}};
    const auto value = scalar_from_text(*probe.field, text, problem);
    if (!value.has_value()) throw_problems({problem});
    Schema schema;
    describe_(schema);
    walk(schema, path, true).field->set(*value);
  } else {
    RLCPP_CHECK(probe.kind == Target::Kind::kFree);
    Json value = parse_json<Json>(text);
    if (text == "None") {
      value = nullptr;
    } else if (value.is_discarded()) {
      value = text;
    }
    if (probe.rest.empty() && !value.is_object()) {
      throw_problems(
          {{place, probe.key + " must be a table", fmt::format("it is {}", printable(text)),
            fmt::format("set its keys, as in --{}.KEY VALUE, or give JSON: {{\"key\": 1}}", probe.key)}});
    }
    for (std::size_t i = probe.rest.size(); i-- > 0;) value = Json{{probe.rest[i], std::move(value)}};
    Schema schema;
    describe_(schema);
    const Target target = walk(schema, path, true);
    Json json = parse_free(*target.free->json);
    merge(json, value);
    *target.free->json = json.dump();
    if (!probe.rest.empty()) record(probe.key + "." + probe.rest.front(), place);
  }
  record(probe.key, place);
}

void Binder::switch_section(const std::vector<std::string>& path, bool on, const Place& place) {
  Schema schema;
  describe_(schema);
  const Target target = walk(schema, path, on);
  if (!on) {
    // In an absent parent the section is a passing default: it is already off.
    target.child->set_present(false);
    forget(target.key);
  }
  record(target.key, place);
}

void Binder::negate(const Target& probe, const std::vector<std::string>& path, const Place& place) {
  bind_flag(probe, path, probe.field->type == ValueType::kBool ? "false" : "None", place);
}

}  // namespace rlcpp::config
