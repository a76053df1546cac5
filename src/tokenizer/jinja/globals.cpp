// Functions that every template knows: Jinja2's range, dict and namespace, and HF's raise_exception and
// strftime_now.
#include <fmt/format.h>

#include <chrono>
#include <cmath>
#include <ctime>

#include "tokenizer/jinja/builtins.h"

namespace rlcpp::tokenizer::jinja {
namespace {

Value range(Runtime& runtime, Arguments& arguments) {
  const Bound bound(runtime, "range", arguments, {"start", "stop", "step"}, 1);
  const std::int64_t start = bound.has(1) ? bound.integer(0, 0) : 0;
  const std::int64_t stop = bound.has(1) ? bound.integer(1, 0) : bound.integer(0, 0);
  const std::int64_t step = bound.integer(2, 1);
  if (step == 0) runtime.fail("the step of a range is 0");
  const double count =
      std::ceil((static_cast<double>(stop) - static_cast<double>(start)) / static_cast<double>(step));
  if (count > static_cast<double>(runtime.limits().range)) {
    runtime.fail(fmt::format("a range of more than {} elements", runtime.limits().range));
  }
  Values items;
  for (std::int64_t i = 0; i < static_cast<std::int64_t>(count); ++i) {
    runtime.spend();
    items.emplace_back(start + i * step);
  }
  return Value::sequence(SequenceKind::kRange, std::move(items));
}

// What dict() and namespace() are made of: a dict or a list of pairs, then names.
Dict collect(Runtime& runtime, const char* function, Arguments& arguments) {
  Dict dict;
  if (arguments.positional.size() > 1)
    runtime.fail(fmt::format("{} takes at most one argument by position", function));
  for (const Value& source : arguments.positional) {
    if (source.is(Kind::kDict)) {
      dict = source.as_dict();
      continue;
    }
    for (const Value& entry : iterate(runtime, source)) {
      const Values pair = iterate(runtime, entry);
      if (pair.size() != 2) runtime.fail(fmt::format("{} needs pairs of a key and a value", function));
      dict.set(pair[0], pair[1]);
    }
  }
  for (auto& [name, value] : arguments.named) dict.set(name, std::move(value));
  return dict;
}

Value dict(Runtime& runtime, Arguments& arguments) {
  return std::make_shared<Dict>(collect(runtime, "dict", arguments));
}

Value make_namespace(Runtime& runtime, Arguments& arguments) {
  auto space = std::make_shared<Namespace>();
  runtime.keep(space);
  for (auto& [name, value] : collect(runtime, "namespace", arguments).entries) {
    if (!name.is_string()) runtime.fail("the attributes of a namespace must have names");
    if (name.as_string().starts_with("_")) {
      runtime.fail(
          fmt::format("the attribute {} of a namespace must not begin with an underscore", name.as_string()));
    }
    space->attributes.emplace_back(name.as_string(), std::move(value));
  }
  return space;
}

Value raise_exception(Runtime& runtime, Arguments& arguments) {
  const Bound bound(runtime, "raise_exception", arguments, {"message"}, 1);
  runtime.fail(to_text(runtime, bound.at(0)));
}

// datetime.now().strftime(format): local time.
Value strftime_now(Runtime& runtime, Arguments& arguments) {
  const Bound bound(runtime, "strftime_now", arguments, {"format"}, 1);
  const std::string format = bound.text(0, "");
  if (format.empty() || format.size() > 256) return "";
  const std::time_t now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  std::tm local{};
  localtime_r(&now, &local);
  char buffer[4096];
  const std::size_t count = std::strftime(buffer, sizeof buffer, format.c_str(), &local);
  return std::string(buffer, count);
}

}  // namespace

Value find_global(std::string_view name) {
  if (name == "range") return make_callable("range", range);
  if (name == "dict") return make_callable("dict", dict);
  if (name == "namespace") return make_callable("namespace", make_namespace);
  if (name == "raise_exception") return make_callable("raise_exception", raise_exception);
  if (name == "strftime_now") return make_callable("strftime_now", strftime_now);
  for (const char* other : {"cycler", "joiner", "lipsum", "self"}) {
    if (name == other) {
      return make_callable(other, [other](Runtime& runtime, Arguments&) -> Value {
        runtime.fail(fmt::format("{} is not supported", other));
      });
    }
  }
  return Value();
}

}  // namespace rlcpp::tokenizer::jinja
