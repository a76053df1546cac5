#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <nlohmann/json.hpp>

#include "base/durable.h"
#include "base/error.h"
#include "base/json_problem.h"
#include "base/json_text.h"
#include "transport/broadcast.h"

namespace rlcpp::transport {
namespace {

using OrderedJson = nlohmann::ordered_json;

OrderedJson shape_json(const Tensor& t) {
  OrderedJson shape = OrderedJson::array();
  for (const std::int64_t dim : t.shape()) shape.push_back(dim);
  return shape;
}

std::uint32_t list_fingerprint(const OrderedJson& tensors) {
  const std::string text = tensors.dump();
  return durable::crc32c(std::as_bytes(std::span(text)));
}

std::string shape_text_of(const OrderedJson& entry) {
  return fmt::format("{} {}", entry.at("shape").dump(), entry.at("type").get<std::string>());
}

// What is wrong with one tensor of the list; empty: nothing.
std::string compare(const OrderedJson& entry, const NamedTensor& here) {
  const auto name = entry.at("name").get<std::string>();
  if (name != here.name) return fmt::format("it has {} where this model has {}", name, here.name);
  if (entry.at("shape") != shape_json(here.tensor) ||
      entry.at("type").get<std::string>() != rlcpp::name_of(here.tensor.dtype())) {
    return fmt::format("{} is {} there and {} {} here", name, shape_text_of(entry),
                       shape_json(here.tensor).dump(), rlcpp::name_of(here.tensor.dtype()));
  }
  return {};
}

}  // namespace

std::string broadcast_manifest(const std::string& run, std::int64_t step,
                               std::span<const NamedTensor> tensors,
                               std::span<const std::uint64_t> checksums) {
  RLCPP_CHECK(tensors.size() == checksums.size());
  OrderedJson list = OrderedJson::array();
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    list.push_back({{"name", tensors[i].name},
                    {"type", std::string(rlcpp::name_of(tensors[i].tensor.dtype()))},
                    {"shape", shape_json(tensors[i].tensor)},
                    {"sum", fmt::format("{:016x}", checksums[i])}});
  }
  return OrderedJson{{"run", run}, {"step", step}, {"tensors", std::move(list)}}.dump();
}

std::string read_broadcast_manifest(std::string_view text, std::span<const NamedTensor> tensors,
                                    BroadcastManifest& out) {
  try {
    const OrderedJson manifest = parse_json_or_throw<OrderedJson>(text);
    out.run = manifest.at("run").get<std::string>();
    out.step = whole_number<std::int64_t>(manifest.at("step"));
    // Whoever takes it counts on from it.
    if (out.step < 0 || out.step == INT64_MAX) return fmt::format("its manifest is of step {}", out.step);
    const OrderedJson& list = manifest.at("tensors");
    if (!list.is_array()) return "its manifest has no list of tensors";
    for (std::size_t i = 0; i < std::min(list.size(), tensors.size()); ++i) {
      if (std::string wrong = compare(list[i], tensors[i]); !wrong.empty()) return wrong;
    }
    if (list.size() != tensors.size())
      return fmt::format("it has {} tensors, this model has {}", list.size(), tensors.size());
    out.checksums.clear();
    for (const OrderedJson& entry : list) {
      const auto sum = entry.at("sum").get<std::string>();
      const char* const end = sum.data() + sum.size();
      std::uint64_t value = 0;
      if (const auto read = std::from_chars(sum.data(), end, value, 16); sum.size() != 16 || read.ptr != end)
        return fmt::format("the checksum \"{}\" is none", sum);
      out.checksums.push_back(value);
    }
    out.fingerprint = list_fingerprint(list);
    return {};
  } catch (const std::exception& e) {  // no JSON, or of another shape
    return fmt::format("its manifest cannot be read ({})", json_problem(e));
  }
}

}  // namespace rlcpp::transport
