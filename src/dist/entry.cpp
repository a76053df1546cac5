#include "dist/entry.h"

#include <algorithm>

#include <fmt/format.h>

namespace rlcpp::dist {

std::string_view name_of(Collective collective) {
  switch (collective) {
    case Collective::kAllReduce:
      return "all_reduce";
    case Collective::kReduceScatter:
      return "reduce_scatter";
    case Collective::kAllGather:
      return "all_gather";
    case Collective::kBroadcast:
      return "broadcast";
    case Collective::kBarrier:
      return "barrier";
  }
  return "?";
}

std::string_view name_of(Reduction reduction) {
  return reduction == Reduction::kSum ? "sum" : "max";
}

void Entry::set_name(std::string_view text) {
  name = {};
  std::copy_n(text.begin(), std::min(text.size(), name.size() - 1), name.begin());
}

std::string text_of(const Entry& entry) {
  if (entry.sequence == 0) return "nothing yet";
  std::string text = fmt::format("{} #{} [", name_of(entry.collective), entry.sequence);
  // Bytes that came over a socket may lack the closing zero.
  const std::string_view name(entry.name.data(), entry.name.size() - 1);
  text += name.substr(0, name.find('\0'));
  if (entry.collective != Collective::kBarrier) {
    const bool reduces =
        entry.collective == Collective::kAllReduce || entry.collective == Collective::kReduceScatter;
    text += ", ";
    if (reduces) text += fmt::format("{} of ", name_of(entry.reduction));
    text += fmt::format("{} {}", entry.count, rlcpp::name_of(entry.type));
    const double bytes = static_cast<double>(entry.count) * static_cast<double>(size_of(entry.type));
    if (bytes >= 1e5) text += fmt::format(", {:.1f} MB", bytes / 1e6);
    if (entry.collective == Collective::kBroadcast) text += fmt::format(", from rank {}", entry.root);
  }
  return text + "]";
}

}  // namespace rlcpp::dist
