// Stands in for ops/cuda in a build without CUDA. make_context refuses a GPU, so nothing below make_runtime
// is ever reached.
#include "ops/cuda/adapter.h"
#include "ops/cuda/attention.h"
#include "ops/cuda/cast.h"
#include "ops/cuda/checksum.h"
#include "ops/cuda/copy_queue.h"
#include "ops/cuda/embedding.h"
#include "ops/cuda/few_rows.h"
#include "ops/cuda/fp8.h"
#include "ops/cuda/graph.h"
#include "ops/cuda/head.h"
#include "ops/cuda/matmul.h"
#include "ops/cuda/moment.h"
#include "ops/cuda/muon.h"
#include "ops/cuda/norm.h"
#include "ops/cuda/optimizer.h"
#include "ops/cuda/random.h"
#include "ops/cuda/rope.h"
#include "ops/cuda/runtime.h"
#include "ops/cuda/sampling.h"
#include "ops/cuda/stopwatch.h"
#include "ops/cuda/swiglu.h"

#include "base/error.h"

namespace rlcpp::ops::cuda {
namespace {

[[noreturn]] void absent() {
  throw environment_error("this binary was built without CUDA", "the operation needs a GPU",
                          "build with the cuda preset, or run with --device cpu");
}

}  // namespace

class Runtime {};
class CopyStream {};

void CopyStreamDeleter::operator()(CopyStream* stream) const {
  delete stream;
}
std::unique_ptr<CopyStream, CopyStreamDeleter> make_copy_stream(const Context&, std::size_t) {
  absent();
}
void follow_operations(CopyStream&) {
  absent();
}
void follow(CopyStream&, const CopyStream&, std::size_t) {
  absent();
}
void copy(CopyStream&, const Tensor&, const Tensor&) {
  absent();
}
void mark(CopyStream&, std::size_t) {
  absent();
}
void hold_operations(const CopyStream&, std::size_t) {
  absent();
}
void synchronize(const CopyStream&) {
  absent();
}
void delay_for_tests(const Context&, double, double) {
  absent();
}

class Event {};
void EventDeleter::operator()(Event* event) const {
  delete event;
}
std::unique_ptr<Event, EventDeleter> make_event(const Context&) {
  absent();
}
void mark(Event&) {
  absent();
}
void wait(const Event&) {
  absent();
}
class EventPair {};
void EventPairDeleter::operator()(EventPair* pair) const {
  delete pair;
}
std::unique_ptr<EventPair, EventPairDeleter> make_event_pair(const Context&) {
  absent();
}
void start(EventPair&) {
  absent();
}
double stop(EventPair&) {
  absent();
}

std::shared_ptr<Runtime> make_runtime(Device, NumericMode) {
  absent();
}
void synchronize(Runtime&) {
  absent();
}
void* stream_handle(Runtime&) {
  absent();
}
void use_workspace(Runtime&, const Tensor&) {
  absent();
}
std::size_t workspace_bytes(Runtime&, const WorkspaceNeeds&) {
  absent();
}
std::size_t head_workspace_bytes(Runtime&, const WorkspaceNeeds&) {
  absent();
}

void rmsnorm_forward(const Context&, const Tensor&, const Tensor&, const Tensor&, const Tensor&,
                     const Tensor&, float) {
  absent();
}
void rmsnorm_backward(const Context&, const Tensor&, const Tensor&, const Tensor&, const Tensor&,
                      const Tensor&, const Tensor&, bool) {
  absent();
}
void qk_norm_rope_forward(const Context&, const Tensor&, const Tensor&, const Tensor&, const Tensor&,
                          const Tensor&, const Tensor&, const Tensor&, const Tensor&, const QkvShape&,
                          float) {
  absent();
}
void qk_norm_rope_backward(const Context&, const Tensor&, const Tensor&, const Tensor&, const Tensor&,
                           const Tensor&, const Tensor&, const Tensor&, const Tensor&, const Tensor&,
                           const Tensor&, const Tensor&, const QkvShape&, float) {
  absent();
}
void swiglu_forward(const Context&, const Tensor&, const Tensor&) {
  absent();
}
void swiglu_backward(const Context&, const Tensor&, const Tensor&, const Tensor&) {
  absent();
}
void embedding_forward(const Context&, const Tensor&, const Tensor&, const Tensor&) {
  absent();
}
void embedding_backward(const Context&, const Tensor&, const Tensor&, const Tensor&) {
  absent();
}
void head_logits(const Context&, const Tensor&, const Tensor&, const Tensor&, const Tensor&, const Tensor&) {
  absent();
}
void head_statistics(const Context&, const Tensor&, const Tensor&, const Tensor&) {
  absent();
}
void head_visit(const Context&, const HeadVisit&, const HeadInputs&) {
  absent();
}
double sum_of_squares(const Context&, std::span<const Tensor>) {
  absent();
}
void scale(const Context&, const Tensor&, float) {
  absent();
}
void add(const Context&, const Tensor&, const Tensor&) {
  absent();
}
bool all_finite(const Context&, const Tensor&) {
  absent();
}
void adamw(const Context&, const Tensor&, const Tensor&, const Tensor&, const Tensor&, const AdamWStep&,
           const Tensor&) {
  absent();
}
void momentum(const Context&, const Tensor&, const Tensor&, double, float) {
  absent();
}
void scaled_matrix(const Context&, const Tensor&, const Tensor&, double, bool) {
  absent();
}
void matrix_polynomial(const Context&, const Tensor&, const Tensor&, const Tensor&, double, double, double) {
  absent();
}
void apply_direction(const Context&, const Tensor&, const Tensor&, const DirectionStep&, const Tensor&) {
  absent();
}
void sgd(const Context&, const Tensor&, const Tensor&, const Tensor&, const SgdStep&, const Tensor&) {
  absent();
}
void sign_sgd(const Context&, const Tensor&, const Tensor&, const SignStep&, const Tensor&) {
  absent();
}
void measure_products(const Context&) {
  absent();
}
std::vector<std::string> take_product_warnings(const Context&) {
  absent();
}
void linear_forward(const Context&, const Tensor&, const Tensor&, const Tensor&, const Tensor&, bool) {
  absent();
}
void linear_backward_input(const Context&, const Tensor&, const Tensor&, const Tensor&, bool) {
  absent();
}
void linear_backward_weight(const Context&, const Tensor&, const Tensor&, const Tensor&, bool) {
  absent();
}
void linear_backward_bias(const Context&, const Tensor&, const Tensor&, bool) {
  absent();
}
bool linear_swiglu_forward(const Context&, const Tensor&, const Tensor&, bool, const Tensor&, const Tensor&,
                           const Tensor&, const Tensor&) {
  absent();
}
bool adapted_forward(const Context&, const Tensor&, const Tensor&, const Tensor&, const Tensor&,
                     const Tensor&) {
  absent();
}
bool adapted_backward_input(const Context&, const Tensor&, const Tensor&, const Tensor&, const Tensor&,
                            const Tensor&) {
  absent();
}
void attention_forward(const Context&, const Tensor&, const Tensor&, const Tensor&, const Documents&,
                       const QkvShape&, float) {
  absent();
}
void attention_backward(const Context&, const Tensor&, const Tensor&, const Tensor&, const Tensor&,
                        const Tensor&, const Tensor&, const Documents&, const QkvShape&, float) {
  absent();
}
void kv_write(const Context&, const KvPages&, const Tensor&, const Tensor&, const QkvShape&) {
  absent();
}
bool documents_in_library(const Context&, std::int64_t, std::int64_t, std::int64_t, const QkvShape&, float) {
  absent();
}
void use_attention_kernels(const Context&, AttentionKernels) {
  absent();
}
void kv_copy(const Context&, const KvPages&, const Tensor&) {
  absent();
}
void attention_paged(const Context&, const Tensor&, const Tensor&, const KvPages&, const Tensor&,
                     const Tensor&, const Tensor&, const QkvShape&, float, const PagedWork&) {
  absent();
}
void checksums(const Context&, std::span<const Tensor>, const Tensor&) {
  absent();
}
bool takes_paged_work(const QkvShape&, std::int64_t) {
  absent();
}
void take_sampled(const Context&, const Tensor&, const Tensor&, const Tensor&) {
  absent();
}
void sample_rows(const Context&, const Tensor&, const Tensor&, const Tensor&, const Tensor&, const Tensor&) {
  absent();
}
void sample_shaped_rows(const Context&, const Tensor&, const Tensor&, const Tensor&, const ShapedRows&) {
  absent();
}
class CapturedGraph {};
void CapturedGraphDeleter::operator()(CapturedGraph* graph) const {
  delete graph;
}
std::unique_ptr<CapturedGraph, CapturedGraphDeleter> capture(const Context&, const std::function<void()>&) {
  absent();
}
void launch(const CapturedGraph&) {
  absent();
}
void copy_in_order(const Context&, const Tensor&, const Tensor&) {
  absent();
}
bool takes_few_rows(const Context&, const FewRowsShape&) {
  return false;
}
void norm_linear_few(const Context&, const Tensor&, const Tensor&, const Tensor&, float, const Tensor&,
                     const Tensor&) {
  absent();
}
void norm_linear_swiglu_few(const Context&, const Tensor&, const Tensor&, const Tensor&, float, const Tensor&,
                            const Tensor&) {
  absent();
}
void linear_add_few(const Context&, const Tensor&, const Tensor&, const Tensor&, const Tensor&) {
  absent();
}
void attention_few(const Context&, const Tensor&, const Tensor&, const KvPages&, const FewRowsAttention&,
                   const QkvShape&) {
  absent();
}
void adapter_expand(const Context&, const Tensor&, const Tensor&, const AdapterBlocks&, float) {
  absent();
}
void adapter_collect(const Context&, const Tensor&, const Tensor&, const AdapterBlocks&, float) {
  absent();
}
void dropout_forward(const Context&, const Tensor&, const Tensor&, const Dropout&) {
  absent();
}
void dropout_backward(const Context&, const Tensor&, const Tensor&, const Dropout&) {
  absent();
}
void scale_rows(const Context&, const Tensor&, const Tensor&) {
  absent();
}
void fill_normal(const Tensor&, const NormalStream&, float, std::int64_t) {
  absent();
}
void cast(const Context&, const Tensor&, const Tensor&) {
  absent();
}
void zero(const Context&, const Tensor&) {
  absent();
}

bool has_fp8(const Context&) {
  absent();
}
void fp8_largest(const Context&, const Tensor&, const Tensor&) {
  absent();
}
void fp8_quantize(const Context&, const Tensor&, const Tensor&, const Tensor&, const Tensor&, const Tensor&) {
  absent();
}
void fp8_product(const Context&, const Tensor&, const Tensor&, const Tensor&, const Tensor&, const Tensor&,
                 const Tensor&, bool, Fp8Sums) {
  absent();
}

}  // namespace rlcpp::ops::cuda
