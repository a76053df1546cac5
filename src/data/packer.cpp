#include "data/packer.h"

#include <algorithm>
#include <limits>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/json_problem.h"

namespace rlcpp::data {

std::vector<std::size_t> choose_row(std::span<const std::int64_t> lengths, std::int64_t capacity) {
  RLCPP_CHECK(!lengths.empty() && lengths[0] >= 1 && lengths[0] <= capacity);
  const auto room = static_cast<std::size_t>(capacity - lengths[0]);
  // reached_by[s]: the first item with which sum s came within reach, using items before it for the rest; 0:
  // not yet.
  std::vector<std::uint32_t> reached_by(room + 1, 0);
  std::size_t best = 0;
  for (std::size_t i = 1; i < lengths.size() && best < room; ++i) {
    const auto length = static_cast<std::size_t>(lengths[i]);
    if (length > room) continue;
    for (std::size_t sum = room; sum >= length; --sum) {
      const std::size_t rest = sum - length;
      // Sums reached by item i itself lie above `sum` on this pass, so `rest` never contains it.
      if (reached_by[sum] == 0 && (rest == 0 || reached_by[rest] != 0))
        reached_by[sum] = static_cast<std::uint32_t>(i);
      if (sum == length) break;
    }
    for (std::size_t sum = room; sum > best; --sum) {
      if (reached_by[sum] != 0) best = sum;
    }
  }
  std::vector<std::size_t> chosen = {0};
  for (std::size_t sum = best; sum > 0;) {
    const std::size_t item = reached_by[sum];
    chosen.push_back(item);
    sum -= static_cast<std::size_t>(lengths[item]);
  }
  std::sort(chosen.begin(), chosen.end());
  return chosen;
}

std::vector<std::size_t> choose_stack(std::span<const std::int64_t> lengths, std::int64_t capacity) {
  constexpr std::int64_t kSmallest = 256;
  RLCPP_CHECK(!lengths.empty() && capacity > 0 && capacity % kSmallest == 0);
  std::vector<std::int64_t> sizes;  // ascending
  for (std::int64_t size = capacity; size % kSmallest == 0; size /= 2) sizes.insert(sizes.begin(), size);
  std::vector<std::vector<std::size_t>> buckets(sizes.size());
  const auto bucket_of = [&](std::int64_t length) {
    std::size_t bucket = 0;
    while (sizes[bucket] < length) ++bucket;
    return bucket;
  };
  const auto filled = [&](std::size_t bucket, std::size_t count) {
    return sizes[bucket] * static_cast<std::int64_t>(count) >= capacity;
  };
  for (std::size_t i = 0; i < lengths.size(); ++i) {
    RLCPP_CHECK(lengths[i] >= 1 && lengths[i] <= capacity);
    const std::size_t bucket = bucket_of(lengths[i]);
    buckets[bucket].push_back(i);
    if (filled(bucket, buckets[bucket].size())) return buckets[bucket];
  }
  std::size_t bucket = bucket_of(lengths[0]);
  while (bucket + 1 < buckets.size() &&
         !filled(bucket + 1, buckets[bucket].size() + buckets[bucket + 1].size())) {
    std::vector<std::size_t>& longer = buckets[bucket + 1];
    longer.insert(longer.end(), buckets[bucket].begin(), buckets[bucket].end());
    ++bucket;
  }
  std::sort(buckets[bucket].begin(), buckets[bucket].end());
  return buckets[bucket];
}

Packer::Packer(SampleSource& source, std::int64_t seq_len, std::size_t look_ahead, PackFunction function)
    : source_(source), seq_len_(seq_len), look_ahead_(look_ahead), function_(function) {
  RLCPP_CHECK(seq_len >= 2 && look_ahead >= 1);
}

void Packer::enqueue(std::int64_t position, std::int64_t part, Sample sample, bool count) {
  if (static_cast<std::int64_t>(sample.ids.size()) > seq_len_) {
    const auto keep = static_cast<std::size_t>(seq_len_);
    const bool trained =
        std::find(sample.mask.begin(), sample.mask.begin() + seq_len_, 1) != sample.mask.begin() + seq_len_;
    if (count) ++(trained ? statistics_.cut : statistics_.skipped);
    if (!trained) return;
    sample.ids.resize(keep);
    sample.mask.resize(keep);
  }
  waiting_.push_back({position, part, std::move(sample)});
}

void Packer::fill(std::int64_t end) {
  std::int64_t barren = 0;
  while (waiting_.size() < look_ahead_ && position_ < end) {
    if (!waiting_.empty() && epoch_of(position_) != epoch_of(waiting_.front().position)) return;
    const std::size_t before = waiting_.size();
    std::vector<Sample> samples = source_.at(position_);
    for (std::size_t part = 0; part < samples.size(); ++part) {
      enqueue(position_, static_cast<std::int64_t>(part), std::move(samples[part]), true);
    }
    ++position_;
    barren = waiting_.size() > before ? 0 : barren + 1;
    if (source_.rows() > 0 && barren >= source_.rows() && waiting_.empty()) {
      throw bad_input(
          fmt::format("no row of the data set has a token to train within data.seq_len = {}", seq_len_),
          fmt::format("{} rows were looked at", barren), "raise data.seq_len");
    }
  }
}

std::vector<Sample> Packer::next_row() {
  return *next_row_until(std::numeric_limits<std::int64_t>::max());
}

std::vector<std::int64_t> Packer::waiting_lengths() const {
  std::vector<std::int64_t> lengths;
  // A checkpoint of an earlier version may hold samples of the next epoch behind those of this one.
  for (const Waiting& w : waiting_) {
    if (epoch_of(w.position) != epoch_of(waiting_.front().position)) break;
    lengths.push_back(static_cast<std::int64_t>(w.sample.ids.size()));
  }
  return lengths;
}

// Moves waiting samples into the row.
void Packer::take(const std::vector<std::size_t>& chosen, std::vector<Sample>& row) {
  for (const std::size_t i : chosen) row.push_back(std::move(waiting_[i].sample));
  for (auto i = chosen.rbegin(); i != chosen.rend(); ++i)
    waiting_.erase(waiting_.begin() + static_cast<std::ptrdiff_t>(*i));
}

std::int64_t Packer::fill_stack(std::vector<Sample>& row, std::int64_t end) {
  fill(end);
  if (waiting_.empty()) return 0;
  const std::vector<std::int64_t> lengths = waiting_lengths();
  const std::vector<std::size_t> chosen = choose_stack(lengths, seq_len_);
  std::int64_t used = 0;
  for (const std::size_t i : chosen) used += lengths[i];
  take(chosen, row);
  return used;
}

std::int64_t Packer::fill_row(std::vector<Sample>& row, std::int64_t end) {
  std::int64_t used = 0;
  // Once more whenever all that could be chosen was: the next samples, of the next epoch perhaps, fill the
  // rest of the row.
  for (bool all = true; all && used < seq_len_;) {
    fill(end);
    if (waiting_.empty()) break;
    std::vector<std::int64_t> lengths;
    if (used > 0) lengths.push_back(used);  // what the row holds already is the item that must be in it
    const std::size_t held = lengths.size();
    for (const std::int64_t length : waiting_lengths()) lengths.push_back(length);
    std::vector<std::size_t> chosen = choose_row(lengths, seq_len_);
    all = chosen.size() == lengths.size();
    chosen.erase(chosen.begin(), chosen.begin() + static_cast<std::ptrdiff_t>(held));
    for (std::size_t& i : chosen) {
      used += lengths[i];
      i -= held;
    }
    take(chosen, row);
  }
  return used;
}

std::optional<std::vector<Sample>> Packer::next_row_until(std::int64_t end) {
  std::vector<Sample> row;
  const std::int64_t used = function_ == PackFunction::kStack ? fill_stack(row, end) : fill_row(row, end);
  if (row.empty()) return std::nullopt;
  statistics_.tokens += used;
  statistics_.rows += 1;
  statistics_.samples += static_cast<std::int64_t>(row.size());
  return row;
}

std::int64_t Packer::epoch_of(std::int64_t position) const {
  return source_.rows() > 0 ? position / source_.rows() : 0;
}

double Packer::epoch() const {
  if (source_.rows() == 0) return 0;
  std::int64_t pending = 0;
  for (std::size_t i = 0; i < waiting_.size(); ++i)
    pending += i == 0 || waiting_[i].position != waiting_[i - 1].position ? 1 : 0;
  return static_cast<double>(position_ - pending) / static_cast<double>(source_.rows());
}

double Packer::padding() const {
  const auto room = static_cast<double>(statistics_.rows * seq_len_);
  return room == 0 ? 0 : 1.0 - static_cast<double>(statistics_.tokens) / room;
}

std::string Packer::state() const {
  nlohmann::ordered_json json;
  json["data"] = source_.fingerprint();
  json["position"] = position_;
  json["waiting"] = nlohmann::ordered_json::array();
  for (const Waiting& w : waiting_) json["waiting"].push_back({w.position, w.part});
  json["rows"] = statistics_.rows;
  json["samples"] = statistics_.samples;
  json["tokens"] = statistics_.tokens;
  json["cut"] = statistics_.cut;
  json["skipped"] = statistics_.skipped;
  return json.dump();
}

void Packer::restore(const std::string& state) {
  try {
    const auto json = nlohmann::ordered_json::parse(state);
    const auto data = json.at("data").get<std::string>();
    if (data != source_.fingerprint()) {
      throw bad_input("the data set is not the one of the checkpoint",
                      fmt::format("checkpoint: {}; now: {}", data, source_.fingerprint()),
                      "resume with the same file, split, seed and data.shuffle");
    }
    position_ = json.at("position").get<std::int64_t>();
    statistics_.rows = json.at("rows").get<std::int64_t>();
    statistics_.samples = json.at("samples").get<std::int64_t>();
    statistics_.tokens = json.at("tokens").get<std::int64_t>();
    statistics_.cut = json.at("cut").get<std::int64_t>();
    statistics_.skipped = json.at("skipped").get<std::int64_t>();
    waiting_.clear();
    for (const auto& entry : json.at("waiting")) {
      const auto position = entry.at(0).get<std::int64_t>();
      const auto part = entry.at(1).get<std::int64_t>();
      std::vector<Sample> samples = source_.at(position);
      enqueue(position, part, std::move(samples.at(static_cast<std::size_t>(part))), false);
    }
  } catch (const nlohmann::json::exception& e) {
    throw bad_input("the data cursor of the checkpoint cannot be read", json_problem(e),
                    "resume from another step");
  }
}

std::vector<MicroBatch> make_micro_batches(const std::vector<std::vector<Sample>>& rows,
                                           std::int64_t rows_each) {
  RLCPP_CHECK(rows_each >= 1);
  std::vector<MicroBatch> out;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (i % static_cast<std::size_t>(rows_each) == 0) out.emplace_back();
    for (const Sample& sample : rows[i]) out.back().append(sample);
  }
  return out;
}

}  // namespace rlcpp::data
