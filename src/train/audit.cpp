#include "train/audit.h"

#include <algorithm>
#include <bit>
#include <numeric>
#include <span>

#include "base/error.h"
#include "base/failpoint.h"
#include "base/rng.h"
#include "train/spoil.h"

namespace rlcpp::train {
namespace {

// Where a document of the step lies.
struct Source {
  std::size_t row = 0;
  std::int64_t first = 0, tokens = 0;
};

std::vector<Source> sources_of(const std::vector<data::MicroBatch>& rows) {
  std::vector<Source> all;
  for (std::size_t r = 0; r < rows.size(); ++r) {
    const auto& ends = rows[r].cu_seqlens;
    for (std::size_t d = 0; d + 1 < ends.size(); ++d) all.push_back({r, ends[d], ends[d + 1] - ends[d]});
  }
  return all;
}

template <class T>
std::span<const T> part(const std::vector<T>& values, std::int64_t first, std::int64_t count) {
  return std::span(values).subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(count));
}

// Its first `tokens` tokens, with their temperatures: all that a log-probability depends on.
data::Sample beginning_of(const data::MicroBatch& row, const Source& source, std::int64_t tokens) {
  data::Sample out;
  const auto ids = part(row.ids, source.first, tokens);
  out.ids.assign(ids.begin(), ids.end());
  out.mask.assign(out.ids.size(), 0);
  if (!row.temperatures.empty()) out.temperature = row.temperatures[static_cast<std::size_t>(source.first)];
  return out;
}

bool same_bits(float a, float b) {
  return std::bit_cast<std::uint32_t>(a) == std::bit_cast<std::uint32_t>(b);
}

bool is_trained(const data::MicroBatch& row, const Source& source) {
  const auto mask = part(row.mask, source.first, source.tokens);
  return std::ranges::find(mask, 1) != mask.end();
}

// Rows that hold a chosen document, in order, with the place of each row of the step among them.
struct OwnRows {
  std::vector<data::MicroBatch> rows;
  std::vector<std::size_t> place;
};

OwnRows own_rows(const std::vector<data::MicroBatch>& rows, const std::vector<Source>& sources,
                 const std::vector<std::int64_t>& chosen) {
  std::vector<bool> wanted(rows.size(), false);
  for (const std::int64_t d : chosen) wanted[sources[static_cast<std::size_t>(d)].row] = true;
  OwnRows out;
  for (std::size_t r = 0; r < rows.size(); ++r) {
    out.place.push_back(out.rows.size());
    if (wanted[r]) out.rows.push_back(rows[r]);
  }
  return out;
}

}  // namespace

void AuditConfig::describe(config::Schema& s) {
  s.field("interval", interval, "Steps between two audits.").at_least(1).in("steps");
  s.field("rollouts", rollouts, "Rollouts of the step that are computed again, drawn by seed and step.")
      .at_least(1);
}

AuditRows repack(const std::vector<data::MicroBatch>& rows, const std::vector<std::int64_t>& documents,
                 std::int64_t max_tokens, std::uint64_t seed) {
  Rng rng(seed);
  const std::vector<Source> sources = sources_of(rows);
  std::vector<std::int64_t> order = documents;
  shuffle(order, rng);
  AuditRows out;
  std::int64_t limit = 0;  // of the row under way
  const auto length = [](const data::MicroBatch& row) { return row.tokens(); };
  for (const std::int64_t document : order) {
    const Source& source = sources[static_cast<std::size_t>(document)];
    const data::MicroBatch& from = rows[source.row];
    RLCPP_CHECK(source.tokens <= max_tokens);
    if (out.rows.empty() || length(out.rows.back()) + source.tokens > limit) {
      // Rows of all lengths: products and attention meet other numbers of rows.
      const std::int64_t room = max_tokens - source.tokens;
      limit = source.tokens + static_cast<std::int64_t>(rng.below(static_cast<std::uint64_t>(room) + 1));
      out.rows.emplace_back();
      const Source& other = sources[rng.below(sources.size())];
      const std::int64_t most = std::min(other.tokens, room);
      if (most > 0) {
        const auto tokens = 1 + static_cast<std::int64_t>(rng.below(static_cast<std::uint64_t>(most)));
        out.rows.back().append(beginning_of(rows[other.row], other, tokens));
        limit = std::max(limit, tokens + source.tokens);
      }
    }
    out.places.push_back({document, out.rows.size() - 1, length(out.rows.back()), source.tokens});
    out.rows.back().append(beginning_of(from, source, source.tokens));
  }
  return out;
}

AuditResult audit(const std::vector<data::MicroBatch>& rows, const AuditRequest& request,
                  const RowLogprobs& logprobs) {
  const std::vector<Source> sources = sources_of(rows);
  std::vector<std::int64_t> chosen;
  for (std::size_t d = 0; d < sources.size(); ++d) {
    if (is_trained(rows[sources[d].row], sources[d])) chosen.push_back(static_cast<std::int64_t>(d));
  }
  Rng rng(request.seed);
  shuffle(chosen, rng);
  chosen.resize(std::min(chosen.size(), static_cast<std::size_t>(request.rollouts)));
  std::ranges::sort(chosen);
  AuditResult result;
  result.rollouts = static_cast<std::int64_t>(chosen.size());
  if (chosen.empty()) return result;

  const OwnRows own = own_rows(rows, sources, chosen);
  const AuditRows other = repack(rows, chosen, request.max_tokens, rng.next_u64());
  const std::vector<std::vector<float>> in_own = logprobs(own.rows);
  std::vector<std::vector<float>> in_other = logprobs(other.rows);
  RLCPP_CHECK(in_own.size() == own.rows.size() && in_other.size() == other.rows.size());
  if (failpoint::any_armed()) {
    const AuditRows::Place& place = other.places.front();
    float& value = in_other[place.row][static_cast<std::size_t>(place.first + place.tokens - 1)];
    value = static_cast<float>(spoiled(failpoint::hit("train.audit"), static_cast<double>(value)));
  }
  for (const std::int64_t document : chosen) {
    const Source& source = sources[static_cast<std::size_t>(document)];
    const data::MicroBatch& row = rows[source.row];
    const auto place = std::ranges::find(other.places, document, &AuditRows::Place::document);
    for (std::int64_t t = 1; t < source.tokens; ++t) {
      const auto at = static_cast<std::size_t>(source.first + t);
      AuditDifference values{document, t, false, 0, 0, 0};
      values.own_row = in_own[own.place[source.row]][at];
      values.other_row = in_other[place->row][static_cast<std::size_t>(place->first + t)];
      values.sampled = request.sampled_now && row.mask[at] != 0;
      if (values.sampled) values.engine = row.inference_logprobs[at];
      const bool same = same_bits(values.own_row, values.other_row) &&
                        (!values.sampled || same_bits(values.engine, values.own_row));
      ++result.tokens;
      if (same) continue;
      ++result.differ;
      if (!result.first.has_value()) result.first = values;
    }
  }
  return result;
}

}  // namespace rlcpp::train
