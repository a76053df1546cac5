// The tests behind `is`, and behind select and reject.
#include <fmt/format.h>

#include <cmath>
#include <map>

#include "tokenizer/jinja/builtins.h"
#include "tokenizer/jinja/text.h"

namespace rlcpp::tokenizer::jinja {
namespace {

Value other(Runtime& runtime, const char* test, Arguments& arguments) {
  return Bound(runtime, test, arguments, {"other"}, 1).at(0);
}
void none(Runtime& runtime, const char* test, Arguments& arguments) {
  const Bound bound(runtime, test, arguments, {});
}

bool is_defined(Runtime& r, const Value& v, Arguments& a) {
  return none(r, "defined", a), !v.is_undefined();
}
bool is_undefined(Runtime& r, const Value& v, Arguments& a) {
  return none(r, "undefined", a), v.is_undefined();
}
bool is_none(Runtime& r, const Value& v, Arguments& a) {
  return none(r, "none", a), v.is_none();
}
bool is_boolean(Runtime& r, const Value& v, Arguments& a) {
  return none(r, "boolean", a), v.is(Kind::kBool);
}
bool is_true(Runtime& r, const Value& v, Arguments& a) {
  return none(r, "true", a), v.is(Kind::kBool) && v.as_bool();
}
bool is_false(Runtime& r, const Value& v, Arguments& a) {
  return none(r, "false", a), v.is(Kind::kBool) && !v.as_bool();
}
bool is_integer(Runtime& r, const Value& v, Arguments& a) {
  return none(r, "integer", a), v.is(Kind::kInt);
}
bool is_float(Runtime& r, const Value& v, Arguments& a) {
  return none(r, "float", a), v.is(Kind::kFloat);
}
bool is_number(Runtime& r, const Value& v, Arguments& a) {
  return none(r, "number", a), v.is_number();
}
bool is_string(Runtime& r, const Value& v, Arguments& a) {
  return none(r, "string", a), v.is_string();
}
bool is_mapping(Runtime& r, const Value& v, Arguments& a) {
  return none(r, "mapping", a), v.is(Kind::kDict);
}
// Undefined answers to calls, lengths and iteration in Python, so it counts among these.
bool is_callable(Runtime& r, const Value& v, Arguments& a) {
  return none(r, "callable", a), v.is(Kind::kCallable) || v.is_undefined() || v.is(Kind::kLoop);
}
bool is_sequence(Runtime& r, const Value& v, Arguments& a) {
  none(r, "sequence", a);
  return v.is_string() || v.is(Kind::kDict) || v.is_undefined() || v.is_sequence(SequenceKind::kList) ||
         v.is_sequence(SequenceKind::kTuple) || v.is_sequence(SequenceKind::kRange);
}
bool is_iterable(Runtime& r, const Value& v, Arguments& a) {
  none(r, "iterable", a);
  return v.is_string() || v.is(Kind::kDict) || v.is_undefined() || v.is(Kind::kSequence) || v.is(Kind::kLoop);
}
bool is_lower_test(Runtime& r, const Value& v, Arguments& a) {
  return none(r, "lower", a), is_lower(to_text(r, v));
}
bool is_upper_test(Runtime& r, const Value& v, Arguments& a) {
  return none(r, "upper", a), is_upper(to_text(r, v));
}

bool is_odd(Runtime& r, const Value& v, Arguments& a) {
  return none(r, "odd", a), equal(arithmetic(r, "%", v, 2), 1);
}
bool is_even(Runtime& r, const Value& v, Arguments& a) {
  return none(r, "even", a), equal(arithmetic(r, "%", v, 2), 0);
}
bool is_divisible(Runtime& r, const Value& v, Arguments& a) {
  return equal(arithmetic(r, "%", v, other(r, "divisibleby", a)), 0);
}

bool is_equal(Runtime& r, const Value& v, Arguments& a) {
  return equal(v, other(r, "equalto", a));
}
bool is_unequal(Runtime& r, const Value& v, Arguments& a) {
  return !equal(v, other(r, "ne", a));
}
bool is_less(Runtime& r, const Value& v, Arguments& a) {
  return less(r, v, other(r, "lt", a));
}
bool is_greater(Runtime& r, const Value& v, Arguments& a) {
  return less(r, other(r, "gt", a), v);
}
bool is_at_most(Runtime& r, const Value& v, Arguments& a) {
  const Value o = other(r, "le", a);
  return less(r, v, o) || equal(v, o);
}
bool is_at_least(Runtime& r, const Value& v, Arguments& a) {
  const Value o = other(r, "ge", a);
  return less(r, o, v) || equal(v, o);
}
bool is_in(Runtime& r, const Value& v, Arguments& a) {
  return contains(r, other(r, "in", a), v);
}

// Identity: of constants and shared objects. Equal numbers and strings count as one object.
bool is_same(Runtime& r, const Value& v, Arguments& a) {
  const Value o = other(r, "sameas", a);
  if (v.kind() != o.kind()) return false;
  if (v.is_undefined()) return &v.hint() == &o.hint();  // each look-up makes a new one
  if (v.is(Kind::kSequence)) return &v.as_sequence() == &o.as_sequence();
  if (v.is(Kind::kDict)) return &v.as_dict() == &o.as_dict();
  return equal(v, o);
}

bool is_filter(Runtime& r, const Value& v, Arguments& a) {
  return none(r, "filter", a), find_filter(to_text(r, v)) != nullptr;
}
bool is_test(Runtime& r, const Value& v, Arguments& a) {
  return none(r, "test", a), find_test(to_text(r, v)) != nullptr;
}

}  // namespace

Test find_test(std::string_view name) {
  static const std::map<std::string_view, Test> tests = {{"defined", is_defined},
                                                         {"undefined", is_undefined},
                                                         {"none", is_none},
                                                         {"boolean", is_boolean},
                                                         {"true", is_true},
                                                         {"false", is_false},
                                                         {"integer", is_integer},
                                                         {"float", is_float},
                                                         {"number", is_number},
                                                         {"string", is_string},
                                                         {"mapping", is_mapping},
                                                         {"callable", is_callable},
                                                         {"sequence", is_sequence},
                                                         {"iterable", is_iterable},
                                                         {"lower", is_lower_test},
                                                         {"upper", is_upper_test},
                                                         {"odd", is_odd},
                                                         {"even", is_even},
                                                         {"divisibleby", is_divisible},
                                                         {"==", is_equal},
                                                         {"eq", is_equal},
                                                         {"equalto", is_equal},
                                                         {"!=", is_unequal},
                                                         {"ne", is_unequal},
                                                         {"<", is_less},
                                                         {"lt", is_less},
                                                         {"lessthan", is_less},
                                                         {">", is_greater},
                                                         {"gt", is_greater},
                                                         {"greaterthan", is_greater},
                                                         {"<=", is_at_most},
                                                         {"le", is_at_most},
                                                         {">=", is_at_least},
                                                         {"ge", is_at_least},
                                                         {"in", is_in},
                                                         {"sameas", is_same},
                                                         {"filter", is_filter},
                                                         {"test", is_test}};
  const auto found = tests.find(name);
  return found == tests.end() ? nullptr : found->second;
}

}  // namespace rlcpp::tokenizer::jinja
