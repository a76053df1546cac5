// Parts of what environments say that echo does not train (orchestrator.advantage.filter): what one of the
// patterns matches, such as warnings of a tool or times of day, which nobody can foresee. As the filters of
// prime-rl's echo (orchestrator/algo/echo.py), it only takes tokens away; those are Python functions, and
// these are regular expressions, which a configuration can hold.
#pragma once

#include <string>
#include <vector>

#include "data/continuation.h"
#include "tokenizer/regex.h"

namespace rlcpp::orchestrator {

class ReplyFilter {
 public:
  ReplyFilter() = default;  // takes nothing away
  // Regular expressions as in tokenizer/regex.h (Ruby's: ^ and $ are the ends of a line). Throws bad_input
  // naming the key for one that does not compile.
  explicit ReplyFilter(const std::vector<std::string>& drop);

  // Continuation::message becomes -1 at tokens that have a byte in a match. Throws bad_input for a pattern
  // that gives up on a text.
  void apply(data::Continuation& answer) const;

 private:
  std::vector<tokenizer::Regex> drop_;
};

}  // namespace rlcpp::orchestrator
