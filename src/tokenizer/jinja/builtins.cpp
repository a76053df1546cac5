#include "tokenizer/jinja/builtins.h"

#include <fmt/format.h>

#include <algorithm>

namespace rlcpp::tokenizer::jinja {

Bound::Bound(Runtime& runtime, std::string_view function, Arguments& arguments,
             std::initializer_list<const char*> names, std::size_t required)
    : runtime_(runtime), function_(function), names_(names.begin(), names.end()), values_(names.size()) {
  if (arguments.positional.size() > names_.size()) {
    runtime.fail(fmt::format("{} takes at most {} arguments, not {}", function, names_.size(),
                             arguments.positional.size()));
  }
  for (std::size_t i = 0; i < arguments.positional.size(); ++i)
    values_[i] = std::move(arguments.positional[i]);
  for (auto& [name, value] : arguments.named) {
    std::size_t i = 0;
    while (i < names_.size() && names_[i] != name) ++i;
    if (i == names_.size()) runtime.fail(fmt::format("{} has no argument named {}", function, name));
    if (values_[i].has_value())
      runtime.fail(fmt::format("{} is given its argument {} twice", function, name));
    values_[i] = std::move(value);
  }
  for (std::size_t i = 0; i < required; ++i) {
    if (!values_[i].has_value()) runtime.fail(fmt::format("{} lacks its argument {}", function, names_[i]));
  }
}

std::string Bound::text(std::size_t i, std::string fallback) const {
  if (!has(i)) return fallback;
  if (!at(i).is_string()) {
    runtime_.fail(fmt::format("the argument {} of {} must be a string, not {}", names_[i], function_,
                              type_name(at(i))));
  }
  return at(i).as_string();
}

std::int64_t Bound::integer(std::size_t i, std::int64_t fallback) const {
  if (!has(i)) return fallback;
  if (!at(i).is_integer()) {
    runtime_.fail(fmt::format("the argument {} of {} must be an integer, not {}", names_[i], function_,
                              type_name(at(i))));
  }
  return at(i).as_int();
}

Value make_callable(std::string name, std::function<Value(Runtime&, Arguments&)> function,
                    const Value& bound_to) {
  return std::make_shared<Callable>(
      Callable{std::move(name), std::move(function), depth_around(depth_of(bound_to))});
}

Value lookup_path(Runtime& runtime, const Value& item, const Value& path, const Value& fallback) {
  const auto step = [&](const Value& value, const Value& key) {
    Value found = subscript(runtime, value, key);
    return found.is_undefined() && !fallback.is_none() ? fallback : found;
  };
  if (!path.is_string()) return step(item, path);
  Value value = item;
  const std::string& text = path.as_string();
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find('.', begin), text.size());
    const std::string part = text.substr(begin, end - begin);
    const bool number =
        !part.empty() && part.size() < 18 && part.find_first_not_of("0123456789") == std::string::npos;
    value = step(value, number ? Value(static_cast<std::int64_t>(std::stoll(part))) : Value(part));
    begin = end + 1;
  }
  return value;
}

Filter find_filter(std::string_view name) {
  if (const Filter filter = find_text_filter(name)) return filter;
  if (const Filter filter = find_sequence_filter(name)) return filter;
  return find_value_filter(name);
}

Value call(Runtime& runtime, const Value& callee, Arguments& arguments) {
  if (callee.is_undefined()) runtime.fail(callee.hint());
  if (!callee.is(Kind::kCallable))
    runtime.fail(fmt::format("a {} is called, but is no function", type_name(callee)));
  runtime.spend();
  const Runtime::Depth depth(runtime);
  return callee.as_callable().call(runtime, arguments);
}

}  // namespace rlcpp::tokenizer::jinja
