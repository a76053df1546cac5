// The variable `loop` inside a for.
#pragma once

#include <cstdint>
#include <optional>

#include "tokenizer/jinja/value.h"

namespace rlcpp::tokenizer::jinja {

struct Loop {
  std::shared_ptr<const Values> items;
  std::size_t index0 = 0;
  std::optional<Values> last_changed;  // arguments of the last loop.changed()
};

}  // namespace rlcpp::tokenizer::jinja
