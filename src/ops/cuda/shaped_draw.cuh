// The draw from one row whose distribution is shaped (ops/shaped_rows.h), by a team of threads that pass over
// the row a few times. Nothing is sorted: a bound for the logits is found by their bits, from the highest
// down, with a histogram of each 11 of them.
//
// A weight exp(z - max) is counted in units of 2^-41 of the largest, as an integer, so that sums have no
// order and what is drawn depends on the row and the request alone, not on how many threads there are.
//
// A team has rank(), size(), sync(); warps of lanes() of its threads, which are neighbours, with warp(),
// warps(), lane() and warp_sum(); any(), most(), least() and sum() over all of it; add() and mark() to memory
// that it shares, in any order; and exp(), log(), bits() and value(). tests/ops/shaped_draw_test.cpp has one
// of host threads.
#pragma once

#include <cmath>
#include <cstdint>

#include "ops/shaped_rows.h"

namespace rlcpp::ops::cuda {

constexpr int kShapedCells = 2048;  // of a histogram
constexpr int kShapedGroups = 64;   // of cells, or of tiles, when a place is looked for
constexpr int kShapedTile = 1024;   // neighbouring logits
constexpr float kShapedUnits = 0x1p41F;

struct ShapedPlace {
  int index = 0;
  std::uint64_t before = 0;  // the sum in front of it
};

// What a team shares. tiles: of the vocabulary.
struct ShapedMemory {
  std::uint64_t* cells;    // [kShapedCells]
  std::uint64_t* groups;   // [kShapedGroups]
  std::uint64_t* of_tile;  // [tiles]
  std::uint32_t* ties;     // [tiles]
  ShapedPlace* place;
};

// In the order of the floats; -0 is 0.
template <class Team>
__device__ std::uint32_t shaped_key(const Team& team, float z) {
  const std::uint32_t bits = team.bits(z + 0.0F);
  return (bits >> 31) != 0U ? ~bits : bits | 0x80000000U;
}
template <class Team>
__device__ float shaped_value(const Team& team, std::uint32_t key) {
  return team.value((key >> 31) != 0U ? key & 0x7fffffffU : ~key);
}

// visit(i, z) for all logits of the row; a thread has several on their way at once.
template <class Team, class Visit>
__device__ void for_each_logit(const Team& team, const float* row, int vocabulary, Visit visit) {
  constexpr int kAtOnce = 8;
  for (int begin = team.rank(); begin < vocabulary; begin += kAtOnce * team.size()) {
    float z[kAtOnce];
    for (int j = 0; j < kAtOnce; ++j) {
      const int i = begin + j * team.size();
      z[j] = i < vocabulary ? row[i] : 0.0F;
    }
    for (int j = 0; j < kAtOnce; ++j) {
      const int i = begin + j * team.size();
      if (i < vocabulary) visit(i, z[j]);
    }
  }
}

// The first i of n with weight(0) + ... + weight(i) >= target; target > 0, and all of them reach it. Every
// thread receives it.
template <class Team, class Weight>
__device__ ShapedPlace find_shaped_place(const Team& team, const ShapedMemory& memory, int n,
                                         std::uint64_t target, Weight weight) {
  const int each = (n + kShapedGroups - 1) / kShapedGroups;
  for (int g = team.rank(); g < kShapedGroups; g += team.size()) {
    std::uint64_t sum = 0;
    for (int i = g * each; i < (g + 1) * each && i < n; ++i) sum += weight(i);
    memory.groups[g] = sum;
  }
  team.sync();
  if (team.rank() == 0) {
    ShapedPlace place;
    int g = 0;
    while (g + 1 < kShapedGroups && place.before + memory.groups[g] < target)
      place.before += memory.groups[g++];
    place.index = g * each;
    while (place.index + 1 < n) {
      const std::uint64_t up_to = place.before + weight(place.index);
      if (up_to >= target) break;
      place.before = up_to;
      ++place.index;
    }
    *memory.place = place;
  }
  team.sync();
  return *memory.place;
}

// Which logits stay: those whose key is above `key`, and the first `ties` of those that have it.
struct ShapedCut {
  std::uint32_t key = 0;
  bool limits_ties = false;
  std::uint64_t ties = 0;    // where they are limited, as the next two
  std::uint64_t weight = 0;  // of each of them
};

// The key at which a sum over falling keys first reaches `target` = target_of(sum of all), and the sum above
// it. measure(z, key): what a logit adds. A target of 0: nothing is looked for, the key is 0.
template <class Team, class Target, class Measure>
__device__ void find_shaped_key(const Team& team, const ShapedMemory& memory, const float* row,
                                int vocabulary, Target target_of, Measure measure, std::uint32_t& key,
                                std::uint64_t& above, std::uint64_t& target) {
  key = 0;
  above = 0;
  target = 0;
  for (int level = 0; level < 3; ++level) {
    const int shift = level == 0 ? 21 : level == 1 ? 10 : 0;
    const int bits = level == 2 ? 10 : 11;
    const int cells = 1 << bits;
    for (int i = team.rank(); i < cells; i += team.size()) memory.cells[i] = 0;
    team.sync();
    for_each_logit(team, row, vocabulary, [&](int, float z) {
      const std::uint32_t of_z = shaped_key(team, z);
      if (level > 0 && of_z >> (shift + bits) != key) return;
      const std::uint64_t adds = measure(z, of_z);
      if (adds != 0) team.add(&memory.cells[(of_z >> shift) & static_cast<std::uint32_t>(cells - 1)], adds);
    });
    team.sync();
    if (level == 0) {
      std::uint64_t mine = 0;
      for (int i = team.rank(); i < cells; i += team.size()) mine += memory.cells[i];
      target = target_of(team.sum(mine));
      if (target == 0) return;
    }
    const ShapedPlace place = find_shaped_place(team, memory, cells, target - above,
                                                [&](int i) { return memory.cells[cells - 1 - i]; });
    above += place.before;
    key = (key << bits) | static_cast<std::uint32_t>(cells - 1 - place.index);
  }
}

// Forbids ids, applies the penalty and divides by the temperature, in place. `marks`: [ceil(vocabulary / 32)]
// of this row's own. False if the row is then not finite, minus infinity apart; `most` is its maximum.
template <class Team>
__device__ bool shape_row(const Team& team, float* row, int vocabulary, const ShapedRow& request,
                          const std::int32_t* lists, std::uint32_t* marks, float& most) {
  const int words = (vocabulary + 31) / 32;
  const std::int32_t* const forbidden = lists + request.forbidden;
  if (request.forbidden_count <= words) {
    for (int i = team.rank(); i < request.forbidden_count; i += team.size()) row[forbidden[i]] = -INFINITY;
  } else {
    for (int i = team.rank(); i < vocabulary; i += team.size()) {
      if (((static_cast<std::uint32_t>(forbidden[i / 32]) >> (i % 32)) & 1U) != 0U) row[i] = -INFINITY;
    }
  }
  const bool penalised = request.repetition_penalty != 1.0F && request.seen_count > 0;
  if (penalised) {
    const std::int32_t* const seen = lists + request.seen;
    const bool listed = request.seen_count <= words;
    for (int i = team.rank(); i < words; i += team.size()) {
      marks[i] = listed ? 0U : static_cast<std::uint32_t>(seen[i]);
    }
    team.sync();
    for (int i = team.rank(); listed && i < request.seen_count; i += team.size()) {
      team.mark(&marks[seen[i] / 32], 1U << (seen[i] % 32));
    }
  }
  team.sync();
  const float temperature = request.temperature > 0.0F ? request.temperature : 1.0F;
  bool bad = false;
  most = -INFINITY;
  for_each_logit(team, row, vocabulary, [&](int i, float z) {
    if (penalised && ((marks[i / 32] >> (i % 32)) & 1U) != 0U) {
      z = z > 0.0F ? z / request.repetition_penalty : z * request.repetition_penalty;
    }
    if (temperature != 1.0F) z /= temperature;
    if (penalised || temperature != 1.0F) row[i] = z;
    bad = bad || !(z < INFINITY);
    if (z > most) most = z;
  });
  bad = team.any(bad);
  most = team.most(most);
  return !bad && most != -INFINITY;
}

// One row, which is overwritten. id -1 if it is not finite.
template <class Team>
__device__ void draw_shaped(const Team& team, const ShapedMemory& memory, float* row, int vocabulary,
                            const ShapedRow& request, const std::int32_t* lists, std::uint32_t* marks,
                            std::int32_t& id, float& logprob) {
  float most;
  id = -1;
  logprob = NAN;
  if (!shape_row(team, row, vocabulary, request, lists, marks, most)) return;
  const bool greedy = !(request.temperature > 0.0F);
  const float min_p = greedy ? 0.0F : request.min_p;
  const auto units = [](float e) { return static_cast<std::uint64_t>(e * kShapedUnits); };
  ShapedCut cut;
  std::uint64_t above, target;
  if (!greedy && request.top_k > 0 && request.top_k < vocabulary) {
    const auto k = static_cast<std::uint64_t>(request.top_k);
    find_shaped_key(
        team, memory, row, vocabulary, [&](std::uint64_t all) { return k < all ? k : 0; },
        [&](float z, std::uint32_t) {
          return static_cast<std::uint64_t>(min_p <= 0.0F || team.exp(z - most) >= min_p ? 1 : 0);
        },
        cut.key, above, target);
  }
  if (!greedy && request.top_p < 1.0F) {
    const double part = static_cast<double>(request.top_p);
    const std::uint32_t least = cut.key;
    std::uint32_t key;
    find_shaped_key(
        team, memory, row, vocabulary,
        [&](std::uint64_t all) {
          return static_cast<std::uint64_t>(std::ceil(part * static_cast<double>(all)));
        },
        [&](float z, std::uint32_t of_z) {
          if (of_z < least) return std::uint64_t{0};
          const float e = team.exp(z - most);
          return e >= min_p ? units(e) : std::uint64_t{0};
        },
        key, above, target);
    // A token stays as long as those before it weigh less than the target.
    cut.key = key;
    cut.limits_ties = true;
    cut.weight = units(team.exp(shaped_value(team, key) - most));
    cut.ties = (target - above + cut.weight - 1) / cut.weight;
  }

  // What each tile weighs, and in which of them ties are left out.
  const int tiles = (vocabulary + kShapedTile - 1) / kShapedTile;
  constexpr std::uint32_t kAll = 0x80000000U;
  std::int32_t first = vocabulary;
  for (int tile = team.warp(); tile < tiles; tile += team.warps()) {
    std::uint64_t weight = 0;
    std::uint32_t ties = 0;
    for (int i = team.lane(); i < kShapedTile; i += team.lanes()) {
      const int at = tile * kShapedTile + i;
      const float z = at < vocabulary ? row[at] : -INFINITY;
      if (at < vocabulary && z == most && at < first) first = at;
      const std::uint32_t key = shaped_key(team, z);
      const float e = team.exp(z - most);
      if (at >= vocabulary || key < cut.key || e < min_p) continue;
      if (cut.limits_ties && key == cut.key) {
        ++ties;
      } else {
        weight += units(e);
      }
    }
    weight = team.warp_sum(weight);
    ties = team.warp_sum(ties);
    if (team.lane() == 0) {
      memory.of_tile[tile] = weight;
      memory.ties[tile] = ties;
    }
  }
  team.sync();
  if (cut.limits_ties) {
    if (team.rank() == 0) {
      std::uint64_t left = cut.ties;
      for (int tile = 0; tile < tiles; ++tile) {
        const std::uint64_t here = memory.ties[tile];
        const std::uint64_t kept = here < left ? here : left;
        left -= kept;
        memory.of_tile[tile] += kept * cut.weight;
        memory.ties[tile] = static_cast<std::uint32_t>(kept) | (kept == here ? kAll : 0U);
      }
    }
    team.sync();
  }
  std::uint64_t total = 0;
  for (int tile = team.rank(); tile < tiles; tile += team.size()) total += memory.of_tile[tile];
  total = team.sum(total);
  const float lse =
      most + static_cast<float>(team.log(static_cast<double>(total) / static_cast<double>(kShapedUnits)));
  if (greedy) {
    id = team.least(first);
    logprob = most - lse;
    return;
  }

  // The first id up to which the weights exceed the goal.
  const auto goal =
      static_cast<std::uint64_t>(static_cast<double>(request.uniform) * static_cast<double>(total));
  const ShapedPlace of_tile =
      find_shaped_place(team, memory, tiles, goal + 1, [&](int tile) { return memory.of_tile[tile]; });
  const int begin = of_tile.index * kShapedTile;
  const std::uint32_t kept = memory.ties[of_tile.index];
  constexpr std::uint64_t kTie = ~std::uint64_t{0};
  std::uint64_t* const weights = memory.cells + kShapedTile;
  for (int i = team.rank(); i < kShapedTile; i += team.size()) {
    std::uint64_t weight = 0;
    if (begin + i < vocabulary) {
      const float z = row[begin + i];
      const std::uint32_t key = shaped_key(team, z);
      const float e = team.exp(z - most);
      const bool tie = cut.limits_ties && key == cut.key && (kept & kAll) == 0U;
      if (key >= cut.key && e >= min_p) weight = tie ? kTie : units(e);
    }
    memory.cells[i] = weight;
  }
  team.sync();
  for (int i = team.rank(); i < kShapedTile; i += team.size()) {
    std::uint64_t weight = memory.cells[i];
    if (weight == kTie) {
      std::uint32_t before = 0;
      for (int j = 0; j < i; ++j) before += memory.cells[j] == kTie ? 1U : 0U;
      weight = before < kept ? cut.weight : 0;
    }
    weights[i] = weight;
  }
  team.sync();
  const ShapedPlace place = find_shaped_place(team, memory, kShapedTile, goal + 1 - of_tile.before,
                                              [&](int i) { return weights[i]; });
  id = begin + place.index;
  logprob = row[id] - lse;
}

}  // namespace rlcpp::ops::cuda
