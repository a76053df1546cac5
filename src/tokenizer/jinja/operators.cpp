// Arithmetic, order, membership and iteration with Python's types.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "tokenizer/jinja/builtins.h"
#include "tokenizer/jinja/text.h"
#include "tokenizer/utf8.h"

namespace rlcpp::tokenizer::jinja {
namespace {

[[noreturn]] void unsupported(Runtime& runtime, std::string_view op, const Value& left, const Value& right) {
  if (left.is_undefined()) runtime.fail(left.hint());
  if (right.is_undefined()) runtime.fail(right.hint());
  runtime.fail(fmt::format("'{}' does not go with {} and {}", op, type_name(left), type_name(right)));
}

std::int64_t checked(Runtime& runtime, bool overflow, std::int64_t value) {
  if (overflow) runtime.fail("a number does not fit 64 bits");
  return value;
}

std::int64_t floor_divide(Runtime& runtime, std::int64_t a, std::int64_t b) {
  if (b == 0) runtime.fail("division by zero");
  if (b == -1) return checked(runtime, a == INT64_MIN, a == INT64_MIN ? 0 : -a);
  const std::int64_t quotient = a / b;
  return quotient - (a % b != 0 && (a < 0) != (b < 0));
}

// Python's float modulo: the sign of the divisor.
double float_modulo(double a, double b) {
  double rest = std::fmod(a, b);
  if (rest != 0.0) {
    if ((b < 0) != (rest < 0)) rest += b;
  } else {
    rest = std::copysign(0.0, b);
  }
  return rest;
}

Value power(Runtime& runtime, const Value& left, const Value& right) {
  if (left.is_integer() && right.is_integer() && right.as_int() >= 0) {
    std::int64_t result = 1;
    const std::int64_t base = left.as_int();
    if (base == 0 || base == 1) return right.as_int() == 0 ? 1 : base;
    if (base == -1) return right.as_int() % 2 == 0 ? 1 : -1;
    for (std::int64_t i = 0; i < right.as_int(); ++i) {
      const bool overflow = __builtin_mul_overflow(result, base, &result);
      checked(runtime, overflow, result);
    }
    return result;
  }
  const double base = left.as_float();
  const double exponent = right.as_float();
  if (base == 0.0 && exponent < 0.0) runtime.fail("0 to a negative power");
  if (base < 0.0 && std::trunc(exponent) != exponent) runtime.fail("a power is not real");
  const double result = std::pow(base, exponent);
  if (std::isinf(result) && !std::isinf(base) && !std::isinf(exponent)) runtime.fail("a power is too large");
  return result;
}

Value number_arithmetic(Runtime& runtime, std::string_view op, const Value& left, const Value& right) {
  if (op == "**") return power(runtime, left, right);
  const bool integers = left.is_integer() && right.is_integer();
  if (op == "/") {
    if (right.as_float() == 0.0) runtime.fail("division by zero");
    return left.as_float() / right.as_float();
  }
  if (integers) {
    const std::int64_t a = left.as_int();
    const std::int64_t b = right.as_int();
    std::int64_t out = 0;
    bool overflow = false;
    if (op == "+") {
      overflow = __builtin_add_overflow(a, b, &out);
    } else if (op == "-") {
      overflow = __builtin_sub_overflow(a, b, &out);
    } else if (op == "*") {
      overflow = __builtin_mul_overflow(a, b, &out);
    } else if (op == "//") {
      out = floor_divide(runtime, a, b);
    } else {
      out = b == -1 ? 0 : a - floor_divide(runtime, a, b) * b;
    }
    return checked(runtime, overflow, out);
  }
  const double a = left.as_float();
  const double b = right.as_float();
  if (op == "+") return a + b;
  if (op == "-") return a - b;
  if (op == "*") return a * b;
  if (b == 0.0) runtime.fail("division by zero");
  if (op == "%") return float_modulo(a, b);
  const double quotient = (a - float_modulo(a, b)) / b;  // CPython's float_floor_div
  const double floored = std::floor(quotient);
  return quotient - floored > 0.5 ? floored + 1.0 : quotient == 0.0 ? std::copysign(0.0, a / b) : floored;
}

Value repeat(Runtime& runtime, const Value& value, std::int64_t count) {
  count = std::max<std::int64_t>(count, 0);
  if (value.is_string()) {
    const std::string& text = value.as_string();
    if (text.empty()) return text;
    const auto limit = static_cast<std::int64_t>(runtime.limits().bytes);
    runtime.spend_bytes(static_cast<std::size_t>(std::min(count, limit + 1)) * text.size());
    std::string out;
    for (std::int64_t i = 0; i < count; ++i) out += text;
    return out;
  }
  const Sequence& sequence = value.as_sequence();
  Values out;
  for (std::int64_t i = 0; i < count && !sequence.items.empty(); ++i) {
    runtime.spend(static_cast<std::int64_t>(sequence.items.size()));
    out.insert(out.end(), sequence.items.begin(), sequence.items.end());
  }
  return Value::sequence(sequence.kind, std::move(out));
}

bool is_list_or_tuple(const Value& value) {
  return value.is_sequence(SequenceKind::kList) || value.is_sequence(SequenceKind::kTuple);
}

}  // namespace

Value add(Runtime& runtime, const Value& left, const Value& right) {
  return arithmetic(runtime, "+", left, right);
}

Value arithmetic(Runtime& runtime, std::string_view op, const Value& left, const Value& right) {
  if (left.is_number() && right.is_number()) return number_arithmetic(runtime, op, left, right);
  if (op == "+" && left.is_string() && right.is_string()) {
    runtime.spend_bytes(left.as_string().size() + right.as_string().size());
    return left.as_string() + right.as_string();
  }
  if (op == "+" && is_list_or_tuple(left) && is_list_or_tuple(right) &&
      left.as_sequence().kind == right.as_sequence().kind) {
    Values items = left.as_sequence().items;
    const Values& more = right.as_sequence().items;
    runtime.spend(static_cast<std::int64_t>((items.size() + more.size()) / 8));
    items.insert(items.end(), more.begin(), more.end());
    return Value::sequence(left.as_sequence().kind, std::move(items));
  }
  if (op == "%" && left.is_string()) return format_percent(runtime, left.as_string(), right);
  const auto repeatable = [](const Value& value) { return value.is_string() || is_list_or_tuple(value); };
  if (op == "*" && repeatable(left) && right.is_integer()) return repeat(runtime, left, right.as_int());
  if (op == "*" && left.is_integer() && repeatable(right)) return repeat(runtime, right, left.as_int());
  unsupported(runtime, op, left, right);
}

Value negate(Runtime& runtime, const Value& value) {
  if (value.is_integer()) return arithmetic(runtime, "-", 0, value);
  if (value.is(Kind::kFloat)) return -value.as_float();
  if (value.is_undefined()) runtime.fail(value.hint());
  runtime.fail(fmt::format("'-' does not go with {}", type_name(value)));
}

bool less(Runtime& runtime, const Value& left, const Value& right) {
  runtime.spend();
  if (left.is_integer() && right.is_integer()) return left.as_int() < right.as_int();
  if (left.is_number() && right.is_number()) return left.as_float() < right.as_float();
  if (left.is_string() && right.is_string()) {
    // UTF-8 keeps the order of code points, which is Python's.
    runtime.spend_bytes(std::min(left.as_string().size(), right.as_string().size()));
    return left.as_string() < right.as_string();
  }
  if (is_list_or_tuple(left) && is_list_or_tuple(right) &&
      left.as_sequence().kind == right.as_sequence().kind) {
    const Runtime::Depth depth(runtime);
    const Values& a = left.as_sequence().items;
    const Values& b = right.as_sequence().items;
    for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
      if (!equal(a[i], b[i])) return less(runtime, a[i], b[i]);
    }
    return a.size() < b.size();
  }
  unsupported(runtime, "<", left, right);
}

void require_hashable(Runtime& runtime, const Value& key) {
  if (!hashable(key)) runtime.fail(fmt::format("a {} cannot be the key of a dict", type_name(key)));
}

bool contains(Runtime& runtime, const Value& container, const Value& item) {
  switch (container.kind()) {
    case Kind::kUndefined:
      return false;
    case Kind::kString:
      if (!item.is_string()) unsupported(runtime, "in", item, container);
      runtime.spend_bytes(container.as_string().size());
      return container.as_string().find(item.as_string()) != std::string::npos;
    case Kind::kDict:
      require_hashable(runtime, item);
      runtime.spend(static_cast<std::int64_t>(container.as_dict().entries.size() / 16));
      return container.as_dict().find(item) != nullptr;
    case Kind::kSequence: {
      const Values items = iterate(runtime, container);
      return std::any_of(items.begin(), items.end(), [&](const Value& value) { return equal(value, item); });
    }
    default:
      break;
  }
  runtime.fail(fmt::format("'in' does not go with a {}", type_name(container)));
}

Values iterate(Runtime& runtime, const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
      return {};
    case Kind::kString: {
      const std::string& text = value.as_string();
      Values characters;
      for (std::size_t pos = 0; pos < text.size();) {
        runtime.spend();
        const std::size_t begin = pos;
        next_code_point(text, pos);
        characters.emplace_back(text.substr(begin, pos - begin));
      }
      return characters;
    }
    case Kind::kDict: {
      Values keys;
      for (const auto& entry : value.as_dict().entries) keys.push_back(entry.first);
      runtime.spend(static_cast<std::int64_t>(keys.size()));
      return keys;
    }
    case Kind::kSequence: {
      Sequence& sequence = value.as_sequence();
      if (sequence.kind == SequenceKind::kGenerator) {
        if (std::exchange(sequence.consumed, true)) return {};
      }
      runtime.spend(static_cast<std::int64_t>(sequence.items.size()));
      return sequence.items;
    }
    default:
      break;
  }
  runtime.fail(fmt::format("a {} cannot be looped over", type_name(value)));
}

std::int64_t length(Runtime& runtime, const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
      return 0;
    case Kind::kString:
      runtime.spend_bytes(value.as_string().size());
      return static_cast<std::int64_t>(count_code_points(value.as_string()));
    case Kind::kDict:
      return static_cast<std::int64_t>(value.as_dict().entries.size());
    case Kind::kLoop:
      return attribute(runtime, value, "length").as_int();
    case Kind::kSequence:
      if (value.is_sequence(SequenceKind::kGenerator)) break;
      return static_cast<std::int64_t>(value.as_sequence().items.size());
    default:
      break;
  }
  runtime.fail(fmt::format("a {} has no length", type_name(value)));
}

}  // namespace rlcpp::tokenizer::jinja
