#include "orchestrator/algo/reply_filter.h"

#include <algorithm>

#include "base/error.h"

namespace rlcpp::orchestrator {

ReplyFilter::ReplyFilter(const std::vector<std::string>& drop) {
  for (const std::string& pattern : drop) drop_.emplace_back(pattern, "orchestrator.advantage.filter.drop");
}

void ReplyFilter::apply(data::Continuation& answer) const {
  if (drop_.empty()) return;
  RLCPP_CHECK(answer.bytes.size() == answer.ids.size() && answer.message.size() == answer.ids.size());
  std::vector<std::vector<tokenizer::Span>> dropped(answer.contents.size());
  for (std::size_t m = 0; m < dropped.size(); ++m) {
    for (const tokenizer::Regex& pattern : drop_) pattern.find_all(answer.contents[m], dropped[m]);
  }
  for (std::size_t t = 0; t < answer.ids.size(); ++t) {
    if (answer.message[t] < 0) continue;
    const auto& spans = dropped.at(static_cast<std::size_t>(answer.message[t]));
    const data::Continuation::Bytes own = answer.bytes[t];
    const bool hit = std::any_of(spans.begin(), spans.end(), [&](const tokenizer::Span& span) {
      return span.begin < own.end && own.begin < span.end;
    });
    if (hit) answer.message[t] = -1;
  }
}

}  // namespace rlcpp::orchestrator
