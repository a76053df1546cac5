#include "data/source.h"

#include <algorithm>
#include <numeric>
#include <string_view>

#include <fmt/format.h>

#include "base/error.h"
#include "base/rng.h"

namespace rlcpp::data {
namespace {

// Streams of the generator: unrelated uses of one seed must not share numbers.
constexpr std::uint64_t kOrderStream = 0x6f72646572ULL;  // "order"
constexpr std::uint64_t kFakeStream = 0x66616b65ULL;     // "fake"

std::size_t bytes_of(const std::vector<Sample>& samples) {
  std::size_t sum = 0;
  for (const Sample& s : samples) sum += sizeof(Sample) + s.ids.size() * (sizeof(std::int32_t) + 1);
  return sum;
}

}  // namespace

SftSource::SftSource(Dataset dataset, Renderer renderer, bool shuffle, std::uint64_t seed,
                     std::size_t cache_bytes)
    : dataset_(std::move(dataset)),
      renderer_(std::move(renderer)),
      shuffle_(shuffle),
      seed_(seed),
      cache_left_(cache_bytes),
      cache_(static_cast<std::size_t>(dataset_.size())) {}

std::vector<Sample> SftSource::row(std::int64_t index) {
  std::vector<Sample>& cached = cache_.at(static_cast<std::size_t>(index));
  if (!cached.empty()) return cached;
  Rendered rendered = render(index);
  for (Sample& sample : rendered.samples) sample.index = index;
  split_rows_ += rendered.samples.size() > 1 ? 1 : 0;
  unaligned_turns_ += rendered.unaligned_turns;
  if (rendered.lost_bytes > 0 && lossy_rows_++ == 0) first_lossy_row_ = dataset_.place(index);
  const std::size_t bytes = bytes_of(rendered.samples);
  if (bytes > cache_left_) return std::move(rendered.samples);
  cache_left_ -= bytes;
  cached = std::move(rendered.samples);
  return cached;
}

// The tokenizer knows nothing of rows.
Rendered SftSource::render(std::int64_t index) const {
  const Conversation conversation = dataset_.row(index);
  try {
    return renderer_.render(conversation);
  } catch (const Error& e) {
    if (std::string_view(e.what()).starts_with(conversation.where)) throw;
    throw Error(e.code(), fmt::format("{}: {}", conversation.where, e.what()), e.because(), e.help());
  }
}

std::vector<Sample> SftSource::at(std::int64_t position) {
  const std::int64_t epoch = position / rows();
  if (!shuffle_) return row(position % rows());
  if (order_epoch_ != epoch) {
    order_.resize(static_cast<std::size_t>(rows()));
    std::iota(order_.begin(), order_.end(), 0);
    Rng rng(mix64(seed_, static_cast<std::uint64_t>(epoch)), kOrderStream);
    shuffle(order_, rng);
    order_epoch_ = epoch;
  }
  return row(order_[static_cast<std::size_t>(position % rows())]);
}

std::int64_t SftSource::check(std::size_t text_bytes, const std::function<void(std::int64_t)>& on_row) {
  std::size_t read = 0;
  std::int64_t index = 0;
  for (; index < rows() && read < text_bytes; ++index) {
    read += dataset_.line(index).size();
    row(index);
    if (on_row) on_row(index + 1);
  }
  return index;
}

std::string SftSource::fingerprint() const {
  return fmt::format("{} rows, crc32c {:08x}, {}", rows(), dataset_.fingerprint(),
                     shuffle_ ? fmt::format("shuffled with seed {}", seed_) : "in order");
}

FakeSource::FakeSource(const FakeOptions& options) : options_(options) {
  RLCPP_CHECK(options.vocab_size > 0 && options.seq_len >= 2);
}

std::vector<Sample> FakeSource::at(std::int64_t position) {
  Rng rng(mix64(options_.seed, static_cast<std::uint64_t>(position)), kFakeStream);
  const auto span = static_cast<std::uint64_t>(options_.seq_len - 1);
  const std::size_t length =
      options_.variable_length ? 2 + rng.below(span) : static_cast<std::size_t>(options_.seq_len);
  Sample sample;
  sample.index = position;
  sample.ids.resize(length);
  const auto vocab = static_cast<std::uint64_t>(options_.vocab_size);
  for (std::int32_t& id : sample.ids) {
    id = static_cast<std::int32_t>(options_.random_ids ? rng.below(vocab)
                                                       : static_cast<std::uint64_t>(position) % vocab);
  }
  sample.mask.assign(length, 1);
  sample.mask[0] = 0;
  return {sample};
}

std::string FakeSource::fingerprint() const {
  return fmt::format("fake, vocabulary {}, {} length {}, {} ids, seed {}", options_.vocab_size,
                     options_.variable_length ? "variable" : "fixed", options_.seq_len,
                     options_.random_ids ? "random" : "increasing", options_.seed);
}

}  // namespace rlcpp::data
