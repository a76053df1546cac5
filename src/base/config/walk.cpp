#include "base/config/walk.h"

#include <fmt/format.h>

#include <algorithm>

namespace rlcpp::config {
namespace {

bool is_index(const std::string& text) {
  return !text.empty() && text.size() < 10 &&
         std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

std::string join(const std::string& prefix, const std::string& name) {
  return prefix.empty() ? name : prefix + "." + name;
}

void collect(Schema& schema, const std::string& prefix, KnownKeys& keys) {
  for (const auto& field : schema.fields) {
    (field->refused.empty() ? keys.supported : keys.refused).push_back(join(prefix, field->key));
  }
  for (const auto& table : schema.free_tables) keys.supported.push_back(join(prefix, table.key));
  for (const Child& child : schema.children) {
    const std::string key = join(prefix, child.key);
    keys.supported.push_back(key);
    Schema inside;
    child.describe_default(inside);
    collect(inside, child.list ? key + ".0" : key, keys);
  }
}

}  // namespace

Field* find_field(Schema& schema, const std::string& name) {
  for (const auto& field : schema.fields) {
    if (field->called(name)) return field.get();
  }
  return nullptr;
}

const Field* find_alias(const Schema& schema, const std::string& name) {
  for (const auto& field : schema.fields) {
    const bool called = std::find(field->aliases.begin(), field->aliases.end(), name) != field->aliases.end();
    if (called) return field.get();
  }
  return nullptr;
}

Child* find_child(Schema& schema, const std::string& name) {
  for (Child& child : schema.children) {
    if (child.key == name || std::find(child.also.begin(), child.also.end(), name) != child.also.end())
      return &child;
  }
  return nullptr;
}

Schema::FreeTable* find_free(Schema& schema, const std::string& name) {
  for (auto& table : schema.free_tables) {
    if (table.key == name) return &table;
  }
  return nullptr;
}

Target walk(Schema& root, const std::vector<std::string>& path, bool create) {
  Target target;
  Schema* schema = &root;
  for (std::size_t i = 0; i < path.size(); ++i) {
    const std::string& name = path[i];
    const bool last = i + 1 == path.size();
    if (Field* field = find_field(*schema, name)) {
      target.key = join(target.key, field->key);
      target.field = field;
      target.kind = !field->refused.empty() ? Target::Kind::kRefused
                                            : (last ? Target::Kind::kField : Target::Kind::kUnknown);
      if (!last) target.rest.assign(path.begin() + static_cast<std::ptrdiff_t>(i) + 1, path.end());
      if (target.kind == Target::Kind::kUnknown) target.hint = target.key + " is a value, not a section";
      return target;
    }
    if (Schema::FreeTable* free = find_free(*schema, name)) {
      target.kind = Target::Kind::kFree;
      target.key = join(target.key, name);
      target.free = free;
      target.rest.assign(path.begin() + static_cast<std::ptrdiff_t>(i) + 1, path.end());
      return target;
    }
    Child* child = find_child(*schema, name);
    if (child == nullptr) {
      target.kind = Target::Kind::kUnknown;
      if (const Field* meant = find_alias(*schema, name)) target.meant = join(target.key, meant->key);
      return target;
    }
    target.key = join(target.key, child->key);
    target.child = child;
    target.element = false;
    auto inside = std::make_unique<Schema>();
    if (child->list) {
      if (last) {
        target.kind = Target::Kind::kList;
        return target;
      }
      const std::size_t count = child->count();
      if (!is_index(path[i + 1])) {
        target.kind = Target::Kind::kBadIndex;
        target.hint =
            fmt::format("{} is a list: name the element, as in {}.0.{}", target.key, target.key, path[i + 1]);
        return target;
      }
      const std::size_t index = std::stoul(path[i + 1]);
      if (index > count) {
        target.kind = Target::Kind::kBadIndex;
        target.hint =
            fmt::format("{} has {} elements, so the next one is {}.{}", target.key, count, target.key, count);
        return target;
      }
      if (index == count && create) child->resize(count + 1);
      if (index < child->count()) {
        child->describe(*inside, index);
      } else {
        child->describe_default(*inside);
      }
      ++i;
      target.key = join(target.key, path[i]);
      target.element = true;
      target.index = index;
    } else {
      if (child->optional && create) child->set_present(true);
      if (child->present()) {
        child->describe(*inside, 0);
      } else {
        child->describe_default(*inside);
      }
    }
    schema = inside.get();
    target.inside = schema;
    target.keep.push_back(std::move(inside));
    if (i + 1 == path.size()) target.kind = Target::Kind::kSection;
  }
  return target;
}

KnownKeys all_keys(const std::function<void(Schema&)>& describe) {
  KnownKeys keys;
  Schema schema;
  describe(schema);
  collect(schema, "", keys);
  return keys;
}

std::vector<std::string> split_key(const std::string& key) {
  std::vector<std::string> parts(1);
  for (const char c : key) {
    if (c == '.') {
      parts.emplace_back();
    } else {
      parts.back() += c;
    }
  }
  return parts;
}

}  // namespace rlcpp::config
