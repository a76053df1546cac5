#include "train/muon.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include <fmt/format.h>

#include "base/error.h"
#include "ops/matmul.h"
#include "ops/muon.h"
#include "ops/optimizer.h"
#include "train/trainer.h"

namespace rlcpp::train {
namespace {

constexpr int kIterations = 5;
constexpr double kA = 3.4445, kB = -4.7750, kC = 2.0315;
constexpr double kTiny = 1e-7;  // keeps a zero momentum finite

Tensor start_of(const Tensor& flat, std::int64_t rows, std::int64_t columns) {
  return flat.rows(0, rows * columns).view({rows, columns});
}

// w = (1 - lr wd) w - lr 0.2 sqrt(max(rows, columns)) O of a part of the matrix.
ops::DirectionStep direction_of(const OptimConfig& config, const UpdateStep& step, bool decay,
                                const model::HfSlice& slice, std::int64_t first, bool transpose) {
  ops::DirectionStep out;
  out.keep = decay ? 1.0 - step.lr * config.weight_decay : 1.0;
  out.rate = step.lr * 0.2 * std::sqrt(static_cast<double>(std::max(slice.shape[0], slice.shape[1])));
  out.first = first;
  out.columns = slice.shape[1];
  out.transpose = transpose;
  return out;
}

Tensor flat_rows(const Tensor& tensor, std::int64_t begin, std::int64_t count) {
  return tensor.empty() ? Tensor() : tensor.view({tensor.size()}).rows(begin, count);
}

}  // namespace

MuonRegions plan_muon(const ops::Context& ctx, const model::ModelConfig& model, const TrainerOptions& options,
                      MemoryPlan& plan) {
  if (options.optimizer_on_host && !model.adapters.any()) {
    throw bad_input("model.optim_cpu_offload is not possible with optim.type = \"muon\"",
                    "it updates whole matrices, and offloaded state passes the device in parts",
                    "remove model.optim_cpu_offload, or set optim.type to adamw");
  }
  const bool cut = options.sharding.any() && !model.adapters.any();
  const ShardLayout layout = shard_layout(model, options.sharding.ranks);
  return plan_muon(ctx, trained_parameters(model), cut ? &layout : nullptr, plan);
}

MuonRegions plan_muon(const ops::Context& ctx, const std::vector<model::ParameterInfo>& parameters,
                      const ShardLayout* layout, MemoryPlan& plan) {
  std::int64_t matrix = 0, square = 0, group = 0;
  for (const model::ParameterInfo& parameter : parameters) {
    if (!is_matrix_of_layer(parameter)) continue;
    for (const model::HfSlice& slice : parameter.slices) {
      const std::int64_t shorter = std::min(slice.shape[0], slice.shape[1]);
      matrix = std::max(matrix, slice.shape[0] * slice.shape[1]);
      square = std::max(square, shorter * shorter);
    }
  }
  const auto add = [&](const char* name, DType type, std::int64_t size) {
    return plan.add(MemoryUse::kOptimizer, name, type, {size});
  };
  MuonRegions regions;
  regions.x = add("muon.x", ctx.compute_type(), matrix);
  regions.y = add("muon.y", ctx.compute_type(), matrix);
  regions.p = add("muon.p", ctx.compute_type(), square);
  regions.q = add("muon.q", ctx.compute_type(), square);
  if (layout == nullptr) return regions;
  for (std::size_t g = 1; g < layout->groups.size(); ++g) group = std::max(group, layout->groups[g].size);
  regions.gathered = add("muon.momentum of a layer", DType::kF32, group);
  return regions;
}

Muon::Muon(const ops::Context& ctx, std::vector<model::ParameterInfo> parameters, const Arena& arena,
           const MuonRegions& regions)
    : ctx_(ctx),
      parameters_(std::move(parameters)),
      x_(arena[regions.x]),
      y_(arena[regions.y]),
      p_(arena[regions.p]),
      q_(arena[regions.q]) {
  if (regions.gathered.index >= 0) gathered_ = arena[regions.gathered];
}

bool Muon::orthogonalise(const Tensor& momentum) {
  // The shorter side first, so that X X^T is the smaller of the two products.
  const bool transpose = momentum.dim(0) > momentum.dim(1);
  const std::int64_t n = std::min(momentum.dim(0), momentum.dim(1)),
                     k = std::max(momentum.dim(0), momentum.dim(1));
  const double norm = std::sqrt(ops::sum_of_squares(ctx_, momentum));
  Tensor x = start_of(x_, n, k), y = start_of(y_, n, k);
  const Tensor p = start_of(p_, n, n), q = start_of(q_, n, n);
  ops::scaled_matrix(ctx_, x, momentum, 1.0 / (norm + kTiny), transpose);
  for (int i = 0; i < kIterations; ++i) {
    ops::linear_forward(ctx_, p, x, x, {}, {});  // X X^T
    ops::linear_forward(ctx_, q, p, p, {}, {});  // its square, since it is symmetric
    ops::matrix_polynomial(ctx_, p, p, q, kA, kB, kC);
    ops::linear_backward_input(ctx_, y, p, x, false);
    std::swap(x, y);
    std::swap(x_, y_);
  }
  return transpose;
}

Tensor Muon::x(std::int64_t rows, std::int64_t columns) const {
  return start_of(x_, rows, columns);
}

void Muon::update(const OptimConfig& config, const UpdateStep& step, const TrainedParameter& parameter) {
  ops::momentum(ctx_, parameter.first, parameter.gradient, config.mu, step.gradient_scale);
  for (const model::HfSlice& slice : parameter.slices) {
    const std::int64_t rows = slice.shape[0], columns = slice.shape[1];
    const bool transpose = orthogonalise(parameter.first.rows(slice.row, rows));
    const std::int64_t begin = slice.row * columns, count = rows * columns;
    ops::apply_direction(ctx_, flat_rows(parameter.master, begin, count),
                         transpose ? x(columns, rows) : x(rows, columns),
                         direction_of(config, step, parameter.decay, slice, 0, transpose),
                         flat_rows(parameter.working, begin, count));
  }
}

void Muon::update(const OptimConfig& config, const UpdateStep& step, const Shards& shards,
                  dist::Communicator& communicator) {
  std::vector<std::vector<const TrainedParameter*>> own(parameters_.size());
  for (const TrainedParameter& piece : shards.pieces()) {
    if (!is_matrix_of_layer(parameters_[piece.index])) continue;
    ops::momentum(ctx_, piece.first, piece.gradient, config.mu, step.gradient_scale);
    own[piece.index].push_back(&piece);
  }
  const ShardLayout& layout = shards.layout();
  const dist::Stream stream{ops::stream_handle(ctx_)};
  for (std::size_t g = 1; g < layout.groups.size(); ++g) {
    const Tensor whole = gathered_.rows(0, layout.groups[g].size);
    communicator
        .all_gather(whole, shards.first_moments(g), fmt::format("momentum of layer {}", g - 1), stream)
        .before(stream);
    for (const std::size_t index : layout.groups[g].parameters) {
      if (!is_matrix_of_layer(parameters_[index])) continue;
      for (const model::HfSlice& slice : parameters_[index].slices) {
        const std::int64_t rows = slice.shape[0], columns = slice.shape[1];
        const std::int64_t begin = slice.row * columns, end = begin + rows * columns;
        bool made = false, transpose = false;
        for (const TrainedParameter* piece : own[index]) {
          const std::int64_t from = std::max(begin, piece->first_element);
          const std::int64_t to = std::min(end, piece->first_element + piece->master.size());
          if (from >= to) continue;
          if (!made) {
            transpose = orthogonalise(
                whole.rows(layout.places[index].offset + begin, rows * columns).view({rows, columns}));
            made = true;
          }
          const std::int64_t at = from - piece->first_element;
          ops::apply_direction(ctx_, flat_rows(piece->master, at, to - from),
                               transpose ? x(columns, rows) : x(rows, columns),
                               direction_of(config, step, piece->decay, slice, from - begin, transpose),
                               flat_rows(piece->working, at, to - from));
        }
      }
    }
  }
}

}  // namespace rlcpp::train
