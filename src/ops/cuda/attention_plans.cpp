#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "ops/attention_scratch.h"
#include "ops/cuda/attention_cuda.h"

namespace rlcpp::ops::cuda {
namespace {

// Scratch of a run that planned none, as in tests.
constexpr std::size_t kUnplannedScratch = std::size_t{256} << 20;
// More than this for a forward is not worth having.
constexpr std::size_t kMostForwardScratch = std::size_t{512} << 20;

constexpr std::int64_t kMostSlots = 32768;  // documents are a dimension of cuDNN's grids, which end at 65535

std::int64_t bucket(std::int64_t count) {
  return static_cast<std::int64_t>(std::bit_ceil(static_cast<std::uint64_t>(count)));
}

CudnnAttentionShape base_shape(const AttentionCall& call) {
  CudnnAttentionShape shape;
  shape.heads = call.shape.num_heads;
  shape.kv_heads = call.shape.num_kv_heads;
  shape.head_dim = call.shape.head_dim;
  shape.qkv_row = call.shape.width();
  shape.out_row = call.shape.num_heads * call.shape.head_dim;
  shape.scale = call.scale;
  return shape;
}
CudnnAttentionShape uniform_shape(const AttentionCall& call) {
  CudnnAttentionShape shape = base_shape(call);
  shape.documents = call.documents;
  shape.longest = call.longest;
  return shape;
}
CudnnAttentionShape ragged_shape(const AttentionCall& call) {
  CudnnAttentionShape shape = base_shape(call);
  shape.ragged = true;
  shape.documents = bucket(call.documents);
  shape.longest = std::max(bucket(call.longest), kCudnnTile);
  return shape;
}

std::size_t offsets_bytes(std::int64_t slots) {
  ScratchLayout layout;
  take_offsets(layout, slots);
  return layout.bytes();
}

}  // namespace

AttentionPlans::AttentionPlans(Runtime& runtime) : runtime_(runtime), budget_(kUnplannedScratch) {}
AttentionPlans::~AttentionPlans() = default;

CudnnAttentionGraph* AttentionPlans::graph(const CudnnAttentionShape& shape) {
  const auto [place, is_new] = graphs_.try_emplace(shape);
  if (is_new) {
    rlcpp::cuda::check(cudaSetDevice(runtime_.device().index), "cudaSetDevice");
    place->second = cudnn_->build(shape, &why_);
  }
  return place->second.get();
}

bool AttentionPlans::supported(const AttentionCall& call) {
  const std::int64_t dim = call.shape.head_dim;
  if (kernels_ == AttentionKernels::kPortable || call.rows == 0 || call.longest == 0) return false;
  // Heads that are no multiple of 16 have known faults in cuDNN; offsets are i32.
  if (dim % 16 != 0 || dim > 256) return false;
  if (call.rows * call.shape.width() > std::numeric_limits<std::int32_t>::max()) return false;
  if (!opened_) {
    opened_ = true;
    rlcpp::cuda::check(cudaSetDevice(runtime_.device().index), "cudaSetDevice");
    cudnn_ = CudnnAttention::open(&why_);
  }
  return cudnn_ != nullptr;
}

bool AttentionPlans::hopper(const QkvShape& shape) const {
  return (kernels_ == AttentionKernels::kFastest || kernels_ == AttentionKernels::kUnordered) &&
         hopper_backward_has(shape);
}

AttentionPlans::Choice AttentionPlans::forward(const AttentionCall& call) {
  if (!supported(call)) return {};
  if (call.uniform()) {
    const CudnnAttentionShape shape = uniform_shape(call);
    CudnnAttentionGraph* const found = graph(shape);
    if (found != nullptr && static_cast<std::size_t>(found->workspace_bytes()) <= budget_) {
      return {found, shape};
    }
  }
  const CudnnAttentionShape shape = ragged_shape(call);
  if (shape.documents > kMostSlots) return {};
  CudnnAttentionGraph* const found = graph(shape);
  if (found == nullptr) return {};
  const std::size_t bytes =
      offsets_bytes(shape.documents) + static_cast<std::size_t>(found->workspace_bytes());
  return bytes <= budget_ ? Choice{found, shape} : Choice{};
}

AttentionPlans::Choice AttentionPlans::backward(const AttentionCall& call) {
  if (!supported(call) || !call.uniform()) return {};
  const std::int64_t group = call.shape.num_heads / call.shape.num_kv_heads;
  CudnnAttentionShape shape = uniform_shape(call);
  shape.backward = true;
  const auto try_shape = [&]() -> CudnnAttentionGraph* {
    if (attention_matrix_bytes(shape.documents, shape.heads, shape.longest) > budget_) return nullptr;
    CudnnAttentionGraph* const found = graph(shape);
    const bool fits = found != nullptr && static_cast<std::size_t>(found->workspace_bytes()) <= budget_;
    return fits ? found : nullptr;
  };
  if (CudnnAttentionGraph* const all = try_shape()) return {all, shape};
  shape.documents = 1;
  for (std::int64_t kv_heads = call.shape.num_kv_heads; kv_heads > 0; --kv_heads) {
    if (call.shape.num_kv_heads % kv_heads != 0) continue;
    shape.kv_heads = kv_heads;
    shape.heads = kv_heads * group;
    if (CudnnAttentionGraph* const some = try_shape()) return {some, shape};
  }
  return {};
}

AttentionPlans::Choice AttentionPlans::unordered_backward(const AttentionCall& call) {
  if (kernels_ != AttentionKernels::kUnordered || !supported(call) || !call.uniform()) return {};
  CudnnAttentionShape shape = uniform_shape(call);
  shape.backward = shape.unordered = true;
  CudnnAttentionGraph* const found = graph(shape);
  const bool fits = found != nullptr && static_cast<std::size_t>(found->workspace_bytes()) <= budget_;
  return fits ? Choice{found, shape} : Choice{};
}

// A ragged forward is asked for its largest case, a uniform one for a single document, and what they say is
// taken to cover smaller ones; backward() asks the graph itself and cuts until it fits.
std::size_t AttentionPlans::plan_scratch(const WorkspaceNeeds& needs) {
  AttentionCall call;
  call.rows = needs.tokens;
  call.longest = needs.tokens;
  call.documents = std::max<std::int64_t>(needs.documents, 1);
  call.shape = needs.shape;
  call.scale = 1.0F / std::sqrt(static_cast<float>(std::max<std::int64_t>(needs.shape.head_dim, 1)));
  const bool own = hopper(needs.shape);
  const std::size_t of_own = own ? hopper_backward_scratch(needs.tokens, needs.shape.num_heads) : 0;
  if (!supported(call)) return of_own;
  CudnnAttentionShape ragged = ragged_shape(call);
  ragged.documents = std::min(ragged.documents, kMostSlots);
  call.documents = 1;
  std::size_t bytes = 0;
  for (const CudnnAttentionShape& shape : {ragged, uniform_shape(call)}) {
    if (!shape.ragged && !call.uniform()) continue;
    if (CudnnAttentionGraph* const found = graph(shape)) {
      bytes = std::max(bytes, static_cast<std::size_t>(found->workspace_bytes()));
    }
  }
  bytes = std::min(bytes, kMostForwardScratch) + offsets_bytes(ragged.documents);
  budget_ = std::numeric_limits<std::size_t>::max();  // of what is asked for now
  if (const Choice unordered = unordered_backward(call); unordered.graph != nullptr)
    bytes = std::max(bytes, static_cast<std::size_t>(unordered.graph->workspace_bytes()));
  if (own) return budget_ = std::max(bytes, of_own);
  budget_ = std::max(bytes, attention_backward_scratch(needs.shape, needs.tokens));
  return budget_;
}

std::size_t attention_scratch(Runtime& runtime, const WorkspaceNeeds& needs) {
  return runtime.attention().plan_scratch(needs);
}

}  // namespace rlcpp::ops::cuda
