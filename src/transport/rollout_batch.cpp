#include "transport/rollout_batch.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <span>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/durable.h"
#include "base/error.h"
#include "base/json_problem.h"
#include "base/json_text.h"

namespace rlcpp::transport {
namespace {

static_assert(std::endian::native == std::endian::little, "streams are written as they lie in memory");

constexpr std::string_view kMagic = "RLCPPROL";
// Written: the least that can say it, so that an older trainer reads what it can train on.
constexpr std::uint32_t kVersion = 1, kVersionWithWeights = 2;
constexpr std::size_t kPrefixBytes = 24, kChecksumBytes = 4;

template <class T>
void put(std::string& out, const T& value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof(T));
}

template <class T>
void put_all(std::string& out, const std::vector<T>& values) {
  out.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
}

template <class T>
T number_at(std::string_view bytes, std::size_t offset) {
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof(T));
  return value;
}

std::vector<std::int32_t> positions_of(const data::MicroBatch& row) {
  std::vector<std::int32_t> out(row.ids.size());
  for (std::size_t d = 0; d + 1 < row.cu_seqlens.size(); ++d) {
    std::int32_t position = 0;
    for (std::int32_t t = row.cu_seqlens[d]; t < row.cu_seqlens[d + 1]; ++t)
      out[static_cast<std::size_t>(t)] = position++;
  }
  return out;
}

nlohmann::ordered_json header_of(const RolloutBatch& batch) {
  nlohmann::ordered_json out = {{"run", batch.run},
                                {"step", batch.step},
                                {"rank", batch.rank},
                                {"ranks", batch.ranks},
                                {"oldest_version", batch.oldest_version},
                                {"newest_version", batch.newest_version},
                                {"policy", batch.policy},
                                {"arithmetic", batch.arithmetic},
                                {"tokens", batch.tokens},
                                {"samples", batch.samples},
                                {"micro_batches", nlohmann::ordered_json::array()}};
  for (const data::MicroBatch& row : batch.micro_batches) {
    out["micro_batches"].push_back({{"tokens", row.ids.size()},
                                    {"documents", row.documents()},
                                    {"rl", row.rl},
                                    {"teacher", !row.teacher_logprobs.empty()},
                                    {"temperatures", !row.temperatures.empty()}});
    if (!row.ce_weights.empty()) out["micro_batches"].back()["ce_weights"] = true;
  }
  return out;
}

// Reads streams one after the other; never beyond the end.
class Reader {
 public:
  Reader(std::string_view bytes, std::size_t begin, std::size_t end, const std::string& source)
      : bytes_(bytes), at_(begin), end_(end), source_(source) {}

  template <class T>
  void take(std::vector<T>& out, std::size_t count) {
    // Before the memory is asked for: a count of the header is only a claim.
    if (count > (end_ - at_) / sizeof(T)) {
      throw wrong(fmt::format("its rows end at offset {}, where {} numbers more are announced", end_, count));
    }
    out.resize(count);
    std::memcpy(out.data(), bytes_.data() + at_, count * sizeof(T));
    at_ += count * sizeof(T);
  }
  std::size_t offset() const { return at_; }
  bool done() const { return at_ == end_; }
  Error wrong(const std::string& because) const {
    return bad_input(source_ + " is not a valid batch of rollouts", because,
                     "the process that wrote it has an error, or the file is not its own: remove the step's "
                     "directory, and start the orchestrator again");
  }

 private:
  std::string_view bytes_;
  std::size_t at_, end_;
  const std::string& source_;
};

void require_documents(const data::MicroBatch& row, const Reader& reader) {
  const std::vector<std::int32_t>& ends = row.cu_seqlens;
  const auto tokens = static_cast<std::int64_t>(row.ids.size());
  if (ends.front() != 0 || ends.back() != tokens) {
    throw reader.wrong(fmt::format("the documents of the row before offset {} go from {} to {} in {} tokens",
                                   reader.offset(), ends.front(), ends.back(), tokens));
  }
  for (std::size_t d = 0; d + 1 < ends.size(); ++d) {
    if (ends[d + 1] <= ends[d]) {
      throw reader.wrong(fmt::format("document {} of the row before offset {} ends at {} and begins at {}", d,
                                     reader.offset(), ends[d + 1], ends[d]));
    }
    if (row.mask[static_cast<std::size_t>(ends[d])] != 0 ||
        (!row.ce_weights.empty() && row.ce_weights[static_cast<std::size_t>(ends[d])] != 0)) {
      throw reader.wrong(fmt::format("the first token of document {} of the row before offset {} is trained",
                                     d, reader.offset()));
    }
  }
  for (const std::uint8_t flag : row.mask) {
    if (flag > 1) throw reader.wrong(fmt::format("a mask before offset {} is {}", reader.offset(), flag));
  }
}

data::MicroBatch read_row(const nlohmann::json& claims, Reader& reader) {
  data::MicroBatch row;
  const auto tokens = whole_number<std::size_t>(claims.at("tokens"));
  const auto documents = whole_number<std::size_t>(claims.at("documents"));
  if (tokens == 0 || documents == 0 || documents > tokens)
    throw reader.wrong(fmt::format("a row of {} documents with {} tokens", documents, tokens));
  row.rl = claims.at("rl").get<bool>();
  reader.take(row.ids, tokens);
  reader.take(row.mask, tokens);
  reader.take(row.cu_seqlens, documents + 1);
  reader.take(row.sample_index, documents);
  if (row.rl) {
    reader.take(row.inference_logprobs, tokens);
    reader.take(row.advantages, tokens);
  }
  if (claims.at("teacher").get<bool>()) reader.take(row.teacher_logprobs, tokens);
  if (claims.at("temperatures").get<bool>()) reader.take(row.temperatures, tokens);
  if (claims.contains("ce_weights") && claims["ce_weights"].get<bool>()) {
    reader.take(row.ce_weights, tokens);
    for (std::size_t t = 0; t < tokens; ++t) {
      // Not `< 0`: a NaN is no weight either.
      if (!row.rl || !(row.ce_weights[t] >= 0) || std::isinf(row.ce_weights[t]) ||
          (row.ce_weights[t] > 0 && row.mask[t] != 0))
        throw reader.wrong(
            fmt::format("a ce_weight before offset {} is {}", reader.offset(), row.ce_weights[t]));
    }
  }
  require_documents(row, reader);
  row.positions = positions_of(row);
  return row;
}

// Throws unless the bytes are those that somebody encoded.
void require_whole(std::string_view bytes, const std::string& source) {
  const auto refuse = [&](const std::string& because) {
    throw bad_input(source + " is not a whole batch of rollouts", because,
                    "it is torn, damaged or not a file of rlcpp: remove the step's directory, and start the "
                    "orchestrator again");
  };
  if (bytes.size() < kPrefixBytes + kChecksumBytes)
    refuse(fmt::format("it has {} bytes, fewer than any has", bytes.size()));
  if (!bytes.starts_with(kMagic)) refuse("it does not begin with \"" + std::string(kMagic) + "\"");
  if (const auto version = number_at<std::uint32_t>(bytes, 8);
      version != kVersion && version != kVersionWithWeights) {
    throw bad_input(fmt::format("{} is written in version {} of the format", source, version),
                    fmt::format("this program reads versions {} and {}", kVersion, kVersionWithWeights),
                    "run trainer and orchestrator of the same rlcpp");
  }
  if (const auto length = number_at<std::uint64_t>(bytes, 16); length != bytes.size())
    refuse(fmt::format("it has {} bytes and says that they are {}", bytes.size(), length));
  const std::size_t end = bytes.size() - kChecksumBytes;
  const std::uint32_t crc = durable::crc32c(std::as_bytes(std::span(bytes.substr(0, end))));
  if (const auto stored = number_at<std::uint32_t>(bytes, end); stored != crc) {
    refuse(fmt::format("its {} bytes have checksum {:08x}, and {:08x} is written at offset {}", end, crc,
                       stored, end));
  }
}

}  // namespace

std::string encode(const RolloutBatch& batch) {
  const std::string header = header_of(batch).dump();
  std::string out(kMagic);
  const bool weights = std::any_of(batch.micro_batches.begin(), batch.micro_batches.end(),
                                   [](const data::MicroBatch& row) { return !row.ce_weights.empty(); });
  put(out, weights ? kVersionWithWeights : kVersion);
  put(out, static_cast<std::uint32_t>(header.size()));
  put(out, std::uint64_t{0});  // the length, once it is known
  out += header;
  for (const data::MicroBatch& row : batch.micro_batches) {
    const std::size_t tokens = row.ids.size();
    RLCPP_CHECK(tokens > 0 && row.mask.size() == tokens && row.positions == positions_of(row));
    RLCPP_CHECK(row.inference_logprobs.size() == (row.rl ? tokens : 0) &&
                row.advantages.size() == row.inference_logprobs.size());
    RLCPP_CHECK(row.teacher_logprobs.empty() || row.teacher_logprobs.size() == tokens);
    RLCPP_CHECK(row.ce_weights.empty() || row.ce_weights.size() == tokens);
    RLCPP_CHECK(row.temperatures.empty() || row.temperatures.size() == tokens);
    RLCPP_CHECK(static_cast<std::int64_t>(row.sample_index.size()) == row.documents());
    put_all(out, row.ids);
    put_all(out, row.mask);
    put_all(out, row.cu_seqlens);
    put_all(out, row.sample_index);
    put_all(out, row.inference_logprobs);
    put_all(out, row.advantages);
    put_all(out, row.teacher_logprobs);
    put_all(out, row.temperatures);
    put_all(out, row.ce_weights);
  }
  const std::uint64_t length = out.size() + kChecksumBytes;
  std::memcpy(out.data() + 16, &length, sizeof(length));
  put(out, durable::crc32c(std::as_bytes(std::span(out))));
  return out;
}

RolloutBatch decode(std::string_view bytes, const std::string& source) {
  require_whole(bytes, source);
  const std::size_t header_bytes = number_at<std::uint32_t>(bytes, 12);
  const std::size_t end = bytes.size() - kChecksumBytes;
  const std::size_t begin = kPrefixBytes + header_bytes;
  Reader reader(bytes, std::min(begin, end), end, source);
  if (begin > end) throw reader.wrong(fmt::format("its header of {} bytes does not fit", header_bytes));
  try {
    const auto header = parse_json_or_throw(bytes.substr(kPrefixBytes, header_bytes));
    RolloutBatch out;
    out.run = header.at("run").get<std::string>();
    out.step = whole_number<std::int64_t>(header.at("step"));
    out.rank = whole_number<std::int64_t>(header.at("rank"));
    out.ranks = whole_number<std::int64_t>(header.at("ranks"));
    out.oldest_version = whole_number<std::int64_t>(header.at("oldest_version"));
    out.newest_version = whole_number<std::int64_t>(header.at("newest_version"));
    out.policy = whole_number<std::uint32_t>(header.at("policy"));
    out.arithmetic = header.value("arithmetic", std::string());
    out.tokens = whole_number<std::int64_t>(header.at("tokens"));
    out.samples = whole_number<std::int64_t>(header.at("samples"));
    for (const nlohmann::json& claims : header.at("micro_batches"))
      out.micro_batches.push_back(read_row(claims, reader));
    if (!reader.done())
      throw reader.wrong(fmt::format("its rows end at offset {} of {}", reader.offset(), end));
    return out;
  } catch (const nlohmann::json::exception& e) {
    throw reader.wrong(fmt::format("its header cannot be read: {}", json_problem(e)));
  }
}

}  // namespace rlcpp::transport
