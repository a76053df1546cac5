// object.name, object[index] and object[begin:end:step], as Jinja2's immutable sandbox resolves them: .name
// looks for an attribute first, [] for an item first; what is missing is undefined; what would change a value
// is refused.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstddef>

#include "tokenizer/jinja/builtins.h"
#include "tokenizer/jinja/loop.h"
#include "tokenizer/jinja/text.h"
#include "tokenizer/utf8.h"

namespace rlcpp::tokenizer::jinja {
namespace {

template <std::size_t N>
bool one_of(const std::string& name, const std::array<const char*, N>& names) {
  return std::any_of(names.begin(), names.end(), [&](const char* known) { return name == known; });
}

constexpr std::array<const char*, 5> kDictChanges = {"clear", "pop", "popitem", "setdefault", "update"};
constexpr std::array<const char*, 8> kListChanges = {"append", "clear",  "extend",  "insert",
                                                     "pop",    "remove", "reverse", "sort"};
constexpr std::array<const char*, 10> kNumberAttributes = {
    "real",       "imag",      "numerator",  "denominator", "conjugate",
    "bit_length", "bit_count", "is_integer", "hex",         "to_bytes"};

Value dict_method(const Value& object, const std::string& name) {
  const auto view = [&](SequenceKind kind) {
    return make_callable(
        name,
        [object, kind, name](Runtime& runtime, Arguments& arguments) {
          const Bound bound(runtime, name, arguments, {});
          Values items;
          for (const auto& [key, value] : object.as_dict().entries) {
            runtime.spend();
            if (kind == SequenceKind::kKeys) {
              items.push_back(key);
            } else if (kind == SequenceKind::kValues) {
              items.push_back(value);
            } else {
              items.push_back(Value::tuple({key, value}));
            }
          }
          return Value::sequence(kind, std::move(items));
        },
        object);
  };
  if (name == "keys") return view(SequenceKind::kKeys);
  if (name == "values") return view(SequenceKind::kValues);
  if (name == "items") return view(SequenceKind::kItems);
  if (name == "get") {
    return make_callable(
        name,
        [object](Runtime& runtime, Arguments& arguments) {
          const Bound bound(runtime, "get", arguments, {"key", "default"}, 1);
          require_hashable(runtime, bound.at(0));
          const Value* found = object.as_dict().find(bound.at(0));
          return found != nullptr ? *found : bound.get(1, Value());
        },
        object);
  }
  if (name == "copy") {
    return make_callable(
        name,
        [object](Runtime& runtime, Arguments& arguments) {
          const Bound bound(runtime, "copy", arguments, {});
          return Value(std::make_shared<Dict>(object.as_dict()));
        },
        object);
  }
  return Value();
}

Value list_method(const Value& object, const std::string& name) {
  if (name == "count") {
    return make_callable(
        name,
        [object](Runtime& runtime, Arguments& arguments) {
          const Bound bound(runtime, "count", arguments, {"value"}, 1);
          const Values& items = object.as_sequence().items;
          runtime.spend(static_cast<std::int64_t>(items.size()));
          return Value(static_cast<std::int64_t>(std::count_if(
              items.begin(), items.end(), [&](const Value& item) { return equal(item, bound.at(0)); })));
        },
        object);
  }
  if (name == "index") {
    return make_callable(
        name,
        [object](Runtime& runtime, Arguments& arguments) {
          const Bound bound(runtime, "index", arguments, {"value"}, 1);
          const Values& items = object.as_sequence().items;
          runtime.spend(static_cast<std::int64_t>(items.size()));
          const auto found = std::find_if(items.begin(), items.end(),
                                          [&](const Value& item) { return equal(item, bound.at(0)); });
          if (found == items.end()) runtime.fail("index() is asked for a value that the list lacks");
          return Value(static_cast<std::int64_t>(found - items.begin()));
        },
        object);
  }
  if (name == "copy" && object.is_sequence(SequenceKind::kList)) {
    return make_callable(
        name,
        [object](Runtime& runtime, Arguments& arguments) {
          const Bound bound(runtime, "copy", arguments, {});
          return Value::list(object.as_sequence().items);
        },
        object);
  }
  return Value();
}

Value loop_attribute(const Value& object, const std::string& name) {
  const Loop& loop = object.as_loop();
  const auto count = static_cast<std::int64_t>(loop.items->size());
  const auto index0 = static_cast<std::int64_t>(loop.index0);
  if (name == "index") return index0 + 1;
  if (name == "index0") return index0;
  if (name == "revindex") return count - index0;
  if (name == "revindex0") return count - index0 - 1;
  if (name == "first") return index0 == 0;
  if (name == "last") return index0 + 1 == count;
  if (name == "length") return count;
  if (name == "depth") return 1;  // deeper only in recursive loops
  if (name == "depth0") return 0;
  if (name == "previtem") {
    return index0 > 0 ? (*loop.items)[loop.index0 - 1] : Value::undefined("there is no previous item");
  }
  if (name == "nextitem") {
    return index0 + 1 < count ? (*loop.items)[loop.index0 + 1] : Value::undefined("there is no next item");
  }
  if (name == "cycle") {
    return make_callable(
        "cycle",
        [object](Runtime& runtime, Arguments& arguments) {
          if (arguments.positional.empty()) runtime.fail("loop.cycle() has nothing to cycle through");
          return arguments.positional[object.as_loop().index0 % arguments.positional.size()];
        },
        object);
  }
  if (name == "changed") {
    return make_callable("changed", [object](Runtime&, Arguments& arguments) {
      Loop& state = object.as_loop();
      const Values& now = arguments.positional;
      const bool same = state.last_changed.has_value() && state.last_changed->size() == now.size() &&
                        std::equal(now.begin(), now.end(), state.last_changed->begin(), equal);
      state.last_changed = now;
      return Value(!same);
    });
  }
  return Value::undefined(fmt::format("'loop' has no attribute '{}'", name));
}

Value missing(const Value& object, const std::string& name) {
  return Value::undefined(fmt::format("'{} object' has no attribute '{}'", type_name(object), name));
}

// A Python attribute of the object; None if it has none of that name. What the sandbox forbids is undefined:
// it prints as nothing, and using it fails.
Value python_attribute(Runtime& runtime, const Value& object, const std::string& name) {
  const auto refuse = [&](const char* why) {
    runtime.fail(fmt::format("the attribute {} of a {} {}", name, type_name(object), why));
  };
  const auto forbidden = [&](const char* why) {
    return Value::undefined(fmt::format("the attribute {} of a {} {}", name, type_name(object), why));
  };
  if (name.starts_with("__")) return forbidden("is not for templates");
  switch (object.kind()) {
    case Kind::kDict:
      if (one_of(name, kDictChanges)) return forbidden("changes it, which templates may not");
      if (name == "fromkeys") refuse("is not supported");
      return dict_method(object, name);
    case Kind::kString:
      return string_method(runtime, object.as_string(), name);
    case Kind::kSequence: {
      const SequenceKind kind = object.as_sequence().kind;
      if (kind == SequenceKind::kList && one_of(name, kListChanges))
        return forbidden("changes it, which templates may not");
      if (kind == SequenceKind::kList || kind == SequenceKind::kTuple || kind == SequenceKind::kRange) {
        return list_method(object, name);
      }
      return Value();
    }
    case Kind::kBool:
    case Kind::kInt:
    case Kind::kFloat:
      if (one_of(name, kNumberAttributes)) refuse("is not supported");
      return Value();
    default:
      return Value();
  }
}

const Value* find_item(const Value& object, const Value& index) {
  if (object.is(Kind::kDict)) return object.as_dict().find(index);
  if (!object.is(Kind::kSequence) || !index.is_integer()) return nullptr;
  const Sequence& sequence = object.as_sequence();
  if (sequence.kind != SequenceKind::kList && sequence.kind != SequenceKind::kTuple &&
      sequence.kind != SequenceKind::kRange) {
    return nullptr;
  }
  const auto count = static_cast<std::int64_t>(sequence.items.size());
  const std::int64_t i = index.as_int() < 0 ? index.as_int() + count : index.as_int();
  return i < 0 || i >= count ? nullptr : &sequence.items[static_cast<std::size_t>(i)];
}

}  // namespace

Value attribute(Runtime& runtime, const Value& object, const std::string& name) {
  runtime.spend();
  if (object.is_undefined()) runtime.fail(object.hint());
  if (object.is(Kind::kLoop)) return loop_attribute(object, name);
  if (object.is(Kind::kNamespace)) {
    for (const auto& [key, value] : object.as_namespace().attributes) {
      if (key == name) return value;
    }
    return missing(object, name);
  }
  Value found = python_attribute(runtime, object, name);
  if (!found.is_none()) return found;
  if (object.is(Kind::kDict)) {
    runtime.spend(static_cast<std::int64_t>(object.as_dict().entries.size() / 16));
    if (const Value* item = object.as_dict().find_name(name)) return *item;
  }
  return missing(object, name);
}

Value subscript(Runtime& runtime, const Value& object, const Value& index) {
  runtime.spend();
  if (object.is_undefined()) runtime.fail(object.hint());
  if (object.is_string() && index.is_integer()) {
    const std::string& text = object.as_string();
    runtime.spend_bytes(text.size());
    const auto count = static_cast<std::int64_t>(count_code_points(text));
    const std::int64_t i = index.as_int() < 0 ? index.as_int() + count : index.as_int();
    if (i < 0 || i >= count) return Value::undefined("the index lies outside the string");
    std::size_t pos = 0;
    for (std::int64_t k = 0; k < i; ++k) next_code_point(text, pos);
    std::size_t end = pos;
    next_code_point(text, end);
    return text.substr(pos, end - pos);
  }
  if (object.is(Kind::kDict)) runtime.spend(static_cast<std::int64_t>(object.as_dict().entries.size() / 16));
  if (const Value* item = find_item(object, index)) return *item;
  if (index.is_string()) {
    if (object.is(Kind::kLoop) || object.is(Kind::kNamespace))
      return attribute(runtime, object, index.as_string());
    Value found = python_attribute(runtime, object, index.as_string());
    return found.is_none() ? missing(object, index.as_string()) : found;
  }
  return Value::undefined(fmt::format("'{} object' has no such element", type_name(object)));
}

namespace {

// Python's slice.indices(): first index, step, and how many.
struct Range {
  std::int64_t first, step, count;
};

Range slice_range(std::int64_t size, const Value& begin, const Value& end, std::int64_t step) {
  const auto clip = [&](const Value& value, std::int64_t fallback) {
    if (value.is_none()) return fallback;
    std::int64_t i = value.as_int();
    if (i < 0) i = i < -size ? -1 : i + size;  // -1: before the first
    if (step > 0) return std::clamp<std::int64_t>(i, 0, size);
    return std::clamp<std::int64_t>(i, -1, size - 1);
  };
  const std::int64_t from = clip(begin, step > 0 ? 0 : size - 1);
  const std::int64_t to = clip(end, step > 0 ? size : -1);
  std::int64_t count = 0;
  if (step > 0 && from < to) count = (to - from - 1) / step + 1;
  if (step < 0 && to < from) count = (from - to - 1) / -step + 1;
  return {from, step, count};
}

}  // namespace

Value slice(Runtime& runtime, const Value& object, const Value& begin, const Value& end, const Value& step) {
  runtime.spend();
  if (object.is_undefined()) runtime.fail(object.hint());
  const auto fits = [](const Value& value) { return value.is_none() || value.is_integer(); };
  const bool sliceable = object.is_string() || object.is_sequence(SequenceKind::kList) ||
                         object.is_sequence(SequenceKind::kTuple) || object.is_sequence(SequenceKind::kRange);
  if (!sliceable) runtime.fail(fmt::format("a {} has no slices", type_name(object)));
  if (!fits(begin) || !fits(end) || !fits(step))
    runtime.fail("the parts of a slice must be integers or none");
  constexpr std::int64_t kFar = std::int64_t{1} << 40;  // beyond any length; keeps sums from overflowing
  const std::int64_t stride = step.is_none() ? 1 : std::clamp(step.as_int(), -kFar, kFar);
  if (stride == 0) runtime.fail("the step of a slice is 0");
  if (object.is_string()) {
    runtime.spend_bytes(object.as_string().size());
    const std::u32string text = to_code_points(object.as_string());
    const Range range = slice_range(static_cast<std::int64_t>(text.size()), begin, end, stride);
    std::u32string out;
    for (std::int64_t k = 0; k < range.count; ++k)
      out.push_back(text[static_cast<std::size_t>(range.first + k * stride)]);
    return to_utf8(out);
  }
  const Sequence& sequence = object.as_sequence();
  const Range range = slice_range(static_cast<std::int64_t>(sequence.items.size()), begin, end, stride);
  runtime.spend(range.count / 8);
  Values out;
  for (std::int64_t k = 0; k < range.count; ++k) {
    out.push_back(sequence.items[static_cast<std::size_t>(range.first + k * stride)]);
  }
  return Value::sequence(sequence.kind, std::move(out));
}

}  // namespace rlcpp::tokenizer::jinja
