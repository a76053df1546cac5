#include "tokenizer/jinja/runtime.h"

#include <fmt/format.h>

#include "base/error.h"

namespace rlcpp::tokenizer::jinja {

Runtime::~Runtime() {
  for (const auto& space : namespaces_) space->attributes.clear();
}

void Runtime::fail(const std::string& message) const {
  throw bad_input(fmt::format("chat template line {}: {}", line, message));
}

void Runtime::out_of_fuel() const {
  throw bad_input(fmt::format("chat template line {}: the template does too much work", line),
                  fmt::format("its limit is {} operations", limits_.fuel));
}

void Runtime::too_long(std::size_t count) const {
  throw bad_input(fmt::format("chat template line {}: the template makes too long a text", line),
                  fmt::format("{} bytes, and {} are the limit", count, limits_.bytes));
}

void Runtime::too_deep() const {
  throw bad_input(
      fmt::format("chat template line {}: calls, values or expressions are nested too deep", line),
      fmt::format("{} calls and {} expressions are the limit", limits_.depth, limits_.expressions));
}

}  // namespace rlcpp::tokenizer::jinja
