// Configuration as plain structs that describe themselves. A struct lists its fields once, in describe();
// from that come TOML and command-line binding, defaults, strict unknown-key errors, --help,
// docs/configuration.md, resolved.toml.
//
//   struct OptimConfig {
//     double lr = 1e-6;
//     std::optional<double> max_norm = 1.0;
//     void describe(config::Schema& s) {
//       s.field("lr", lr, "Peak learning rate.").at_least(0);
//       s.field("max_norm", max_norm, "Clip the global gradient norm to this; None: no
//       clipping.").at_least(0);
//     }
//   };
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace rlcpp::config {

// A value as TOML or the command line gives it. monostate is None.
using Scalar = std::variant<std::monostate, bool, std::int64_t, double, std::string, std::vector<std::string>,
                            std::vector<std::int64_t>, std::vector<double>>;

enum class ValueType : std::uint8_t { kBool, kInt, kFloat, kString, kStringList, kIntList, kFloatList };

// One leaf: how to read it, write it and explain it.
struct Field {
  std::string key;  // last component, snake_case
  std::string doc;  // one sentence or two
  ValueType type = ValueType::kString;
  bool optional = false;             // accepts None
  std::vector<std::string> choices;  // strings only; empty: any
  double minimum = -std::numeric_limits<double>::infinity();
  double maximum = std::numeric_limits<double>::infinity();
  bool minimum_open = false;         // value > minimum rather than >=
  bool maximum_open = false;         // value < maximum rather than <=
  std::string unit;                  // "tokens", "seconds", ...: shown in help and docs
  std::vector<std::string> aliases;  // names of it elsewhere (HF, TRL): refused, the error says `key`
  std::vector<std::string> also;     // names that the reference gave it later or earlier: accepted
  std::vector<std::pair<std::string, std::string>> instead;  // choices of the reference that are not ours
  bool narrow = false;  // int or float: 32 bits, which bound the range and the digits written
  std::string refused;  // not empty: known to the reference, not supported; the sentence that says so
  std::vector<std::string> harmless;  // of a refused key: values, as JSON, that ask for what happens anyway
  std::function<Scalar()> get;
  std::function<void(const Scalar&)> set;  // type already checked by the binder

  Field& at_least(double value) {
    minimum = value;
    return *this;
  }
  Field& above(double value) {
    minimum = value;
    minimum_open = true;
    return *this;
  }
  Field& at_most(double value) {
    maximum = value;
    return *this;
  }
  // below(infinity) asks for a finite number.
  Field& below(double value) {
    maximum = value;
    maximum_open = true;
    return *this;
  }
  Field& one_of(std::vector<std::string> values) {
    choices = std::move(values);
    return *this;
  }
  Field& in(std::string text) {
    unit = std::move(text);
    return *this;
  }
  // What others call it. Not accepted, so that one value has one name; the error says which.
  Field& alias(std::string name) {
    aliases.push_back(std::move(name));
    return *this;
  }
  // Another name of the reference for the same thing, as good as `key`; giving both in one file is an error.
  Field& later(std::string name) {
    also.push_back(std::move(name));
    return *this;
  }
  // A value that the reference has and we do not; `sentence` as for Schema::refused.
  Field& no_choice(std::string value, std::string sentence) {
    instead.emplace_back(std::move(value), std::move(sentence));
    return *this;
  }
  // Of a refused key: these values, written as JSON (false, 1, "torch", null for None), change nothing here
  // and are accepted.
  Field& unless(std::vector<std::string> values) {
    harmless = std::move(values);
    return *this;
  }
  bool called(std::string_view name) const;  // `key`, or one of `also`
};

class Schema;

// A nested table. An optional one is absent until a key inside it, or the bare flag --a.b, switches it on. A
// list is TOML's [[a.b]]; on the command line --a.b.0.key.
struct Child {
  std::string key;
  std::string doc;
  bool optional = false;
  bool list = false;
  std::function<bool()> present;
  std::function<void(bool)> set_present;               // optional only
  std::function<std::size_t()> count;                  // lists only
  std::function<void(std::size_t)> resize;             // lists only
  std::function<void(Schema&, std::size_t)> describe;  // for a list: of element i; else i = 0
  std::function<void(Schema&)> describe_default;       // of a default-made element: for help and docs
  std::vector<std::string> also;                       // as Field::also
};

class Schema {
 public:
  // T: bool, int, std::int64_t, float, double, std::string, std::vector of std::string, std::int64_t or
  // double, or std::optional of a scalar.
  template <class T>
  Field& field(std::string_view key, T& value, std::string_view doc);

  // A key (or table) that the reference knows and we do not support: using it is an error with this sentence.
  Field& refused(std::string_view key, std::string_view sentence);
  // A free-form table, e.g. env.args: its keys are not checked here. `json` holds it as JSON text, an object;
  // empty text is the empty object. Later files merge into it key by key; the string "None" becomes null.
  void free_table(std::string_view key, std::string& json, std::string_view doc);

  template <class S>
  Child& section(std::string_view key, S& value, std::string_view doc);
  template <class S>
  Child& section(std::string_view key, std::optional<S>& value, std::string_view doc);
  template <class S>
  Child& list(std::string_view key, std::vector<S>& values, std::string_view doc);

  // Deques would do too: references returned by field() must stay valid while one describe() runs. Those to
  // children only until the next one.
  std::vector<std::unique_ptr<Field>> fields;
  std::vector<Child> children;
  struct FreeTable {
    std::string key, doc;
    std::string* json;
  };
  std::vector<FreeTable> free_tables;

 private:
  Field& add_field(std::string_view key, std::string_view doc, ValueType type, bool optional);
};

// ---- implementation of the templates ----

namespace detail {
template <class T>
struct Traits;
template <>
struct Traits<bool> {
  static constexpr ValueType type = ValueType::kBool;
  using Store = bool;
};
template <>
struct Traits<int> {
  static constexpr ValueType type = ValueType::kInt;
  using Store = std::int64_t;
};
template <>
struct Traits<std::int64_t> {
  static constexpr ValueType type = ValueType::kInt;
  using Store = std::int64_t;
};
template <>
struct Traits<float> {
  static constexpr ValueType type = ValueType::kFloat;
  using Store = double;
};
template <>
struct Traits<double> {
  static constexpr ValueType type = ValueType::kFloat;
  using Store = double;
};
template <>
struct Traits<std::string> {
  static constexpr ValueType type = ValueType::kString;
  using Store = std::string;
};
template <>
struct Traits<std::vector<std::string>> {
  static constexpr ValueType type = ValueType::kStringList;
  using Store = std::vector<std::string>;
};
template <>
struct Traits<std::vector<std::int64_t>> {
  static constexpr ValueType type = ValueType::kIntList;
  using Store = std::vector<std::int64_t>;
};
template <>
struct Traits<std::vector<double>> {
  static constexpr ValueType type = ValueType::kFloatList;
  using Store = std::vector<double>;
};
template <class T>
struct IsOptional : std::false_type {};
template <class T>
struct IsOptional<std::optional<T>> : std::true_type {};
}  // namespace detail

template <class T>
Field& Schema::field(std::string_view key, T& value, std::string_view doc) {
  if constexpr (detail::IsOptional<T>::value) {
    using Inner = typename T::value_type;
    using Traits = detail::Traits<Inner>;
    Field& f = add_field(key, doc, Traits::type, true);
    f.narrow = std::is_same_v<Inner, int> || std::is_same_v<Inner, float>;
    f.get = [&value]() -> Scalar {
      if (!value.has_value()) return std::monostate{};
      return static_cast<typename Traits::Store>(*value);
    };
    f.set = [&value](const Scalar& scalar) {
      if (std::holds_alternative<std::monostate>(scalar)) {
        value.reset();
      } else {
        value = static_cast<Inner>(std::get<typename Traits::Store>(scalar));
      }
    };
    return f;
  } else {
    using Traits = detail::Traits<T>;
    Field& f = add_field(key, doc, Traits::type, false);
    f.narrow = std::is_same_v<T, int> || std::is_same_v<T, float>;
    f.get = [&value]() -> Scalar { return static_cast<typename Traits::Store>(value); };
    f.set = [&value](const Scalar& scalar) {
      value = static_cast<T>(std::get<typename Traits::Store>(scalar));
    };
    return f;
  }
}

template <class S>
Child& Schema::section(std::string_view key, S& value, std::string_view doc) {
  Child child{std::string(key), std::string(doc), false, false, [] { return true; }, {}, {}, {}, {}, {}, {}};
  child.describe = [&value](Schema& s, std::size_t) { value.describe(s); };
  child.describe_default = [](Schema& s) {
    static thread_local S fresh;
    fresh = S{};
    fresh.describe(s);
  };
  children.push_back(std::move(child));
  return children.back();
}

template <class S>
Child& Schema::section(std::string_view key, std::optional<S>& value, std::string_view doc) {
  Child child{std::string(key),
              std::string(doc),
              true,
              false,
              [&value] { return value.has_value(); },
              {},
              {},
              {},
              {},
              {},
              {}};
  child.set_present = [&value](bool on) {
    if (on && !value.has_value()) value.emplace();
    if (!on) value.reset();
  };
  child.describe = [&value](Schema& s, std::size_t) { value->describe(s); };
  child.describe_default = [](Schema& s) {
    static thread_local S fresh;
    fresh = S{};
    fresh.describe(s);
  };
  children.push_back(std::move(child));
  return children.back();
}

template <class S>
Child& Schema::list(std::string_view key, std::vector<S>& values, std::string_view doc) {
  Child child{std::string(key), std::string(doc), false, true, [] { return true; }, {}, {}, {}, {}, {}, {}};
  child.count = [&values] { return values.size(); };
  child.resize = [&values](std::size_t count) { values.resize(count); };
  child.describe = [&values](Schema& s, std::size_t index) { values.at(index).describe(s); };
  child.describe_default = [](Schema& s) {
    static thread_local S fresh;
    fresh = S{};
    fresh.describe(s);
  };
  children.push_back(std::move(child));
  return children.back();
}

}  // namespace rlcpp::config
