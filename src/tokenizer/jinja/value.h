// Values of the template language: Python's, as far as templates see them.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include <nlohmann/json_fwd.hpp>

namespace rlcpp::tokenizer::jinja {

class Value;
using Values = std::vector<Value>;
class Runtime;

// Order of the alternatives in Value.
enum class Kind : std::uint8_t {
  kUndefined,
  kNone,
  kBool,
  kInt,
  kFloat,
  kString,
  kSequence,
  kDict,
  kNamespace,
  kLoop,
  kCallable
};

// What a sequence is in Python. Generators are always true, have no length and can be read once.
enum class SequenceKind : std::uint8_t { kList, kTuple, kRange, kGenerator, kKeys, kValues, kItems };

struct Undefined {
  std::shared_ptr<const std::string> hint;  // what an operation on it reports, e.g. "'x' is undefined"
};
struct None {};
struct Sequence;
struct Dict;
struct Namespace;
struct Loop;
struct Callable;

// Arguments of a call as written: f(1, b=2).
struct Arguments {
  Values positional;
  std::vector<std::pair<std::string, Value>> named;
};

class Value {
 public:
  Value() : data_(None{}) {}
  Value(bool value) : data_(value) {}               // NOLINT: conversions are the point
  Value(std::int64_t value) : data_(value) {}       // NOLINT
  Value(int value) : data_(std::int64_t{value}) {}  // NOLINT
  Value(double value) : data_(value) {}             // NOLINT
  Value(std::string value) : data_(std::make_shared<const std::string>(std::move(value))) {}  // NOLINT
  Value(std::string_view value) : Value(std::string(value)) {}                                // NOLINT
  Value(const char* value) : Value(std::string(value)) {}                                     // NOLINT
  Value(std::shared_ptr<Sequence> value) : data_(std::move(value)) {}                         // NOLINT
  Value(std::shared_ptr<Dict> value) : data_(std::move(value)) {}                             // NOLINT
  Value(std::shared_ptr<Namespace> value) : data_(std::move(value)) {}                        // NOLINT
  Value(std::shared_ptr<Loop> value) : data_(std::move(value)) {}                             // NOLINT
  Value(std::shared_ptr<Callable> value) : data_(std::move(value)) {}                         // NOLINT

  static Value undefined(std::string hint);
  static Value list(Values items);
  static Value tuple(Values items);
  static Value sequence(SequenceKind kind, Values items);

  Kind kind() const { return static_cast<Kind>(data_.index()); }
  bool is(Kind k) const { return kind() == k; }
  bool is_undefined() const { return is(Kind::kUndefined); }
  bool is_none() const { return is(Kind::kNone); }
  bool is_string() const { return is(Kind::kString); }
  // int or bool: what Python's isinstance(x, int) holds true.
  bool is_integer() const { return is(Kind::kInt) || is(Kind::kBool); }
  bool is_number() const { return is_integer() || is(Kind::kFloat); }
  bool is_sequence(SequenceKind k) const;

  bool as_bool() const { return std::get<bool>(data_); }
  std::int64_t as_int() const { return is(Kind::kBool) ? as_bool() : std::get<std::int64_t>(data_); }
  double as_float() const { return is_integer() ? static_cast<double>(as_int()) : std::get<double>(data_); }
  const std::string& as_string() const { return *std::get<std::shared_ptr<const std::string>>(data_); }
  Sequence& as_sequence() const { return *std::get<std::shared_ptr<Sequence>>(data_); }
  Dict& as_dict() const { return *std::get<std::shared_ptr<Dict>>(data_); }
  Namespace& as_namespace() const { return *std::get<std::shared_ptr<Namespace>>(data_); }
  Loop& as_loop() const { return *std::get<std::shared_ptr<Loop>>(data_); }
  const Callable& as_callable() const { return *std::get<std::shared_ptr<Callable>>(data_); }
  const std::string& hint() const { return *std::get<Undefined>(data_).hint; }

 private:
  std::variant<Undefined, None, bool, std::int64_t, double, std::shared_ptr<const std::string>,
               std::shared_ptr<Sequence>, std::shared_ptr<Dict>, std::shared_ptr<Namespace>,
               std::shared_ptr<Loop>, std::shared_ptr<Callable>>
      data_;
};

struct Sequence {
  SequenceKind kind = SequenceKind::kList;
  Values items;
  bool consumed = false;  // generators: read already
  int depth = 1;          // levels of values inside, this one included
};

// Insertion order, as Python's dict. Keys are None, numbers, strings or tuples of them.
struct Dict {
  std::vector<std::pair<Value, Value>> entries;
  const Value* find(const Value& key) const;
  const Value* find_name(std::string_view key) const;
  void set(const Value& key, Value value);
  int depth = 1;  // as in Sequence
};

// namespace(...): the only thing a template can change from an inner scope.
struct Namespace {
  std::vector<std::pair<std::string, Value>> attributes;
};

struct Callable {
  std::string name;
  std::function<Value(Runtime&, Arguments&)> call;
  int depth = 1;  // as in Sequence, of what a method is bound to
};

// Values nest at most this deep, so that whatever walks or frees them needs little stack.
inline constexpr int kMaxValueDepth = 64;
// Levels inside `value`: 0 for scalars.
int depth_of(const Value& value);
// 1 + the deepest of `inside`; throws bad_input beyond kMaxValueDepth.
int depth_around(int inside);

// Python's name of the type, for errors.
std::string type_name(const Value& value);
bool truth(const Value& value);
// What can be the key of a dict: no lists and dicts, nor tuples that hold some.
bool hashable(const Value& value);
// Python's ==. Different kinds of numbers compare by value; other kinds that differ are unequal.
bool equal(const Value& left, const Value& right);

// str(value), as an expression in {{ }} prints it, and repr(value), as inside a printed list. Both throw
// through `runtime` for what prints an address in Python (functions, generators, loop).
std::string to_text(Runtime& runtime, const Value& value);
std::string representation(Runtime& runtime, const Value& value);
std::string float_text(double value);  // repr(float)

// Throws bad_input for an integer beyond 64 bits.
Value from_json(const nlohmann::ordered_json& json);

}  // namespace rlcpp::tokenizer::jinja
