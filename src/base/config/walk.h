// Finding what a dotted key means in a schema, with or without bringing absent sections into being.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "base/config/schema.h"

namespace rlcpp::config {

struct Target {
  enum class Kind : std::uint8_t { kUnknown, kBadIndex, kField, kRefused, kSection, kList, kFree };
  Kind kind = Kind::kUnknown;
  std::string key;           // the dotted key as far as it is known
  std::string meant;         // kUnknown: the key that has this name elsewhere, if one does
  Field* field = nullptr;    // kField, kRefused
  Child* child = nullptr;    // kSection, kList; for an element of a list, the list
  bool element = false;      // kSection: an element of a list
  std::size_t index = 0;     // of that element
  Schema* inside = nullptr;  // kSection: its schema
  Schema::FreeTable* free = nullptr;
  std::vector<std::string> rest;  // kFree, kRefused: the components behind it
  std::string hint;               // kUnknown, kBadIndex: what is known about the mistake

  std::vector<std::unique_ptr<Schema>> keep;  // owns what the pointers point into
};

// `create` makes absent sections and the next element of a list, so that values can be set; without it
// nothing changes and absent sections are looked up as their defaults.
Target walk(Schema& root, const std::vector<std::string>& path, bool create);

// Each nullptr if there is none.
Field* find_field(Schema& schema, const std::string& name);
const Field* find_alias(const Schema& schema, const std::string& name);  // the field that others call so
Child* find_child(Schema& schema, const std::string& name);
Schema::FreeTable* find_free(Schema& schema, const std::string& name);

// Dotted keys of all fields, sections and tables, absent sections included; elements of lists are shown as
// "env.0".
// Refused keys are apart: they are known, but no answer to prefer.
struct KnownKeys {
  std::vector<std::string> supported;
  std::vector<std::string> refused;
};
KnownKeys all_keys(const std::function<void(Schema&)>& describe);

std::vector<std::string> split_key(const std::string& key);

}  // namespace rlcpp::config
