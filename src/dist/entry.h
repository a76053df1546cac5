// What a rank says when it enters a collective: the same on every rank, or the run is wrong.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>

#include "tensor/dtype.h"

namespace rlcpp::dist {

enum class Collective : std::uint8_t { kAllReduce, kReduceScatter, kAllGather, kBroadcast, kBarrier };
enum class Reduction : std::uint8_t { kSum, kMax };

std::string_view name_of(Collective collective);
std::string_view name_of(Reduction reduction);

// Plain bytes: it goes over the side channel as it is. All hosts of a run have one byte order.
struct Entry {
  std::uint64_t sequence = 0;  // of the communicator, from 1
  std::int64_t count = 0;      // elements of the whole: the input of reduce_scatter, the output of all_gather
  std::int32_t root = 0;       // of a broadcast
  Collective collective = Collective::kBarrier;
  Reduction reduction = Reduction::kSum;
  DType type = DType::kF32;
  char reserved = 0;
  std::array<char, 40> name = {};  // what for: "gradients layer 3"; cut to 39 bytes

  void set_name(std::string_view text);
  bool operator==(const Entry&) const = default;
};
static_assert(sizeof(Entry) == 64 && std::is_trivially_copyable_v<Entry>);

// "all_reduce #8812 [gradients layer 3, sum of 6291456 f32, 25.2 MB]"; without an entry: "nothing yet".
std::string text_of(const Entry& entry);

}  // namespace rlcpp::dist
