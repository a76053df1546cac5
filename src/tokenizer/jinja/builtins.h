// For the functions of the language: arguments by position or name.
#pragma once

#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/jinja/runtime.h"

namespace rlcpp::tokenizer::jinja {

// Arguments of one call matched to parameter names; what does not fit fails with the function's name.
class Bound {
 public:
  Bound(Runtime& runtime, std::string_view function, Arguments& arguments,
        std::initializer_list<const char*> names, std::size_t required = 0);

  bool has(std::size_t i) const { return values_[i].has_value(); }
  const Value& at(std::size_t i) const { return *values_[i]; }
  Value get(std::size_t i, Value fallback) const { return has(i) ? at(i) : std::move(fallback); }
  std::string text(std::size_t i, std::string fallback) const;       // must be a string
  std::int64_t integer(std::size_t i, std::int64_t fallback) const;  // must be an integer
  bool flag(std::size_t i, bool fallback) const { return has(i) ? truth(at(i)) : fallback; }

 private:
  Runtime& runtime_;
  std::string function_;
  std::vector<std::string> names_;
  std::vector<std::optional<Value>> values_;
};

// `bound_to`: what a method belongs to.
Value make_callable(std::string name, std::function<Value(Runtime&, Arguments&)> call,
                    const Value& bound_to = Value());

// "user.name" or 0: what the filters map, sort, sum, unique, selectattr, groupby look at in each item.
// `fallback`, unless none, stands in wherever a step finds nothing.
Value lookup_path(Runtime& runtime, const Value& item, const Value& path, const Value& fallback = Value());

// The filters of each file, by name.
Filter find_text_filter(std::string_view name);
Filter find_sequence_filter(std::string_view name);
Filter find_value_filter(std::string_view name);

}  // namespace rlcpp::tokenizer::jinja
