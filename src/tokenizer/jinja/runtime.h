// What a running template carries: its limits, the line for errors, and calls back into the interpreter.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "tokenizer/jinja/value.h"

namespace rlcpp::tokenizer::jinja {

// A template comes from a model's files, so nobody here has written it: it must end, and soon.
struct Limits {
  std::int64_t fuel = 500'000;               // operations
  std::size_t bytes = std::size_t{4} << 20;  // of output, and of any one string on the way
  int depth = 64;                            // nested calls, and values inside values
  int expressions = 1000;                    // nested expressions, over all calls
  std::int64_t range = 100'000;              // elements of range(), as Jinja2's sandbox allows
};

class Runtime {
 public:
  explicit Runtime(Limits limits = {}) : limits_(limits), fuel_(limits.fuel) {}

  void spend(std::int64_t operations = 1) {
    if ((fuel_ -= operations) < 0) out_of_fuel();
  }
  // Accounts for a string of `count` bytes that is made or read: an operation for 256 of them, and a limit of
  // its own.
  void spend_bytes(std::size_t count) {
    if (count > limits_.bytes) too_long(count);
    spend(static_cast<std::int64_t>(count >> 8));
  }
  // For a text that grows: its new part is accounted for, the whole is held to the limit.
  void spend_growth(std::size_t before, std::size_t after) {
    if (after > limits_.bytes) too_long(after);
    spend(static_cast<std::int64_t>((after - before) >> 8));
  }
  // Throws bad_input "chat template line N: <message>".
  [[noreturn]] void fail(const std::string& message) const;

  // Holds one level of nesting while it lives.
  class Depth {
   public:
    explicit Depth(Runtime& runtime) : runtime_(runtime) {
      if (++runtime_.depth_ > runtime_.limits_.depth) runtime_.too_deep();
    }
    ~Depth() { --runtime_.depth_; }
    Depth(const Depth&) = delete;
    Depth& operator=(const Depth&) = delete;

   private:
    Runtime& runtime_;
  };
  class ExpressionDepth {
   public:
    explicit ExpressionDepth(Runtime& runtime) : runtime_(runtime) {
      if (++runtime_.expressions_ > runtime_.limits_.expressions) runtime_.too_deep();
    }
    ~ExpressionDepth() { --runtime_.expressions_; }
    ExpressionDepth(const ExpressionDepth&) = delete;
    ExpressionDepth& operator=(const ExpressionDepth&) = delete;

   private:
    Runtime& runtime_;
  };

  // Namespaces can hold each other in circles and chains; kept here, they are taken apart one by one at the
  // end.
  void keep(std::shared_ptr<Namespace> space) { namespaces_.push_back(std::move(space)); }
  ~Runtime();
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;

  const Limits& limits() const { return limits_; }
  int line = 1;  // of the node being evaluated

 private:
  [[noreturn]] void out_of_fuel() const;
  [[noreturn]] void too_long(std::size_t count) const;
  [[noreturn]] void too_deep() const;

  Limits limits_;
  std::int64_t fuel_;
  int depth_ = 0;
  int expressions_ = 0;
  std::vector<std::shared_ptr<Namespace>> namespaces_;
};

// Functions of the language by name; nullptr if there is none. A filter is called with the piped value first.
using Filter = Value (*)(Runtime&, const Value&, Arguments&);
Filter find_filter(std::string_view name);
using Test = bool (*)(Runtime&, const Value&, Arguments&);
Test find_test(std::string_view name);

// Global functions (range, namespace, dict, raise_exception, strftime_now); None if there is none of that
// name.
Value find_global(std::string_view name);

// object.name and object[index] as Jinja2's sandboxed environment resolves them: undefined where there is
// nothing.
Value attribute(Runtime& runtime, const Value& object, const std::string& name);
Value subscript(Runtime& runtime, const Value& object, const Value& index);
// object[begin:end:step]; parts that are none are absent.
Value slice(Runtime& runtime, const Value& object, const Value& begin, const Value& end, const Value& step);
// A method of a string, bound to it; None if strings have no such method.
Value string_method(Runtime& runtime, const std::string& self, const std::string& name);
Value call(Runtime& runtime, const Value& callee, Arguments& arguments);

// + - * / // % ** and the comparisons, with Python's types and errors.
Value add(Runtime& runtime, const Value& left, const Value& right);
Value arithmetic(Runtime& runtime, std::string_view op, const Value& left, const Value& right);
Value negate(Runtime& runtime, const Value& value);
bool less(Runtime& runtime, const Value& left, const Value& right);
// Fails for what cannot be the key of a dict.
void require_hashable(Runtime& runtime, const Value& key);
bool contains(Runtime& runtime, const Value& container, const Value& item);

// The elements of what can be looped over: of a dict its keys, of a string its characters, of undefined
// nothing.
Values iterate(Runtime& runtime, const Value& value);
std::int64_t length(Runtime& runtime, const Value& value);
// "..." % value
std::string format_percent(Runtime& runtime, const std::string& pattern, const Value& value);
// json.dumps(value, ensure_ascii=..., indent=..., separators=..., sort_keys=...)
struct JsonStyle {
  bool ensure_ascii = false;
  bool sort_keys = false;
  std::string indent;  // one level; only with `lines`
  bool lines = false;
  std::string item_separator = ", ";
  std::string key_separator = ": ";
};
std::string json_text(Runtime& runtime, const Value& value, const JsonStyle& style);

}  // namespace rlcpp::tokenizer::jinja
