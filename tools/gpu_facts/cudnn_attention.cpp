#include "cudnn_attention.h"

#include <cudnn_frontend.h>
#include <dlfcn.h>

#include <cmath>
#include <stdexcept>
#include <unordered_map>
#include <vector>

namespace cudnn_frontend {
void* cudnn_dlhandle = nullptr;  // cudnn-frontend asks its user to define and fill this one.
}

namespace gpu_facts {
namespace {

namespace fe = cudnn_frontend;
using Tensor = std::shared_ptr<fe::graph::Tensor_attributes>;

void check(fe::error_t error, const std::string& what) {
  if (error.is_bad()) throw std::runtime_error(what + ": " + error.get_message());
}

void check(cudnnStatus_t status, const std::string& what) {
  if (status != CUDNN_STATUS_SUCCESS) {
    throw std::runtime_error(what + ": cuDNN status " + std::to_string(static_cast<int>(status)));
  }
}

void load_cudnn() {
  if (fe::cudnn_dlhandle != nullptr) return;
  fe::cudnn_dlhandle = dlopen("libcudnn.so.9", RTLD_NOW | RTLD_GLOBAL);
  if (fe::cudnn_dlhandle == nullptr) throw std::runtime_error(std::string("cannot load cuDNN: ") + dlerror());
}

class Plan final : public AttentionPlan {
 public:
  Plan(cudnnHandle_t handle, const AttentionShape& shape, AttentionPass pass)
      : handle_(handle), shape_(shape) {
    graph_.set_io_data_type(fe::DataType_t::BFLOAT16)
        .set_intermediate_data_type(fe::DataType_t::FLOAT)
        .set_compute_data_type(fe::DataType_t::FLOAT);
    if (shape.ragged) {
      lengths_ = index_tensor("lengths", shape.documents);
      qkv_offsets_ = index_tensor("qkv_offsets", shape.documents + 1);
      o_offsets_ = index_tensor("o_offsets", shape.documents + 1);
      stats_offsets_ = index_tensor("stats_offsets", shape.documents + 1);
    }
    q_ = graph_.tensor(rows_tensor("q", shape.q_heads, shape.row(), qkv_offsets_));
    k_ = graph_.tensor(rows_tensor("k", shape.kv_heads, shape.row(), qkv_offsets_));
    v_ = graph_.tensor(rows_tensor("v", shape.kv_heads, shape.row(), qkv_offsets_));
    if (pass == AttentionPass::forward) {
      add_forward();
    } else {
      add_backward(pass == AttentionPass::backward_deterministic);
    }
    check(graph_.validate(), "validate");
    check(graph_.build_operation_graph(handle), "build_operation_graph");
    check(graph_.create_execution_plans({fe::HeurMode_t::A}), "create_execution_plans");
    check(graph_.check_support(handle), "check_support");
    check(graph_.build_plans(handle), "build_plans");
    check(graph_.get_workspace_size(workspace_bytes_), "get_workspace_size");
    check(graph_.get_plan_name(name_), "get_plan_name");
  }

  std::int64_t workspace_bytes() const override { return workspace_bytes_; }
  std::string name() const override { return name_; }

  void run(const AttentionPointers& pointers, void* workspace, cudaStream_t stream) override {
    auto* const qkv = static_cast<char*>(pointers.qkv);
    auto* const d_qkv = static_cast<char*>(pointers.d_qkv);
    const std::int64_t k_at = 2 * shape_.q_heads * AttentionShape::head_dim;
    const std::int64_t v_at = k_at + 2 * shape_.kv_heads * AttentionShape::head_dim;
    std::unordered_map<Tensor, void*> data = {
        {q_, qkv}, {k_, qkv + k_at}, {v_, qkv + v_at}, {o_, pointers.o}, {stats_, pointers.stats}};
    if (d_o_) {
      data[d_o_] = pointers.d_o;
      data[d_q_] = d_qkv;
      data[d_k_] = d_qkv + k_at;
      data[d_v_] = d_qkv + v_at;
    }
    if (shape_.ragged) {
      data[lengths_] = pointers.lengths;
      data[qkv_offsets_] = pointers.qkv_offsets;
      data[o_offsets_] = pointers.o_offsets;
      data[stats_offsets_] = pointers.stats_offsets;
    }
    check(fe::detail::set_stream(handle_, stream), "cudnnSetStream");
    check(graph_.execute(handle_, data, workspace), "execute");
  }

 private:
  Tensor index_tensor(const char* name, std::int64_t count) {
    return graph_.tensor(fe::graph::Tensor_attributes()
                             .set_name(name)
                             .set_data_type(fe::DataType_t::INT32)
                             .set_dim({count, 1, 1, 1})
                             .set_stride({1, 1, 1, 1}));
  }

  // A view [documents, heads, longest, head_dim] of token-major rows.
  fe::graph::Tensor_attributes rows_tensor(const char* name, std::int64_t heads, std::int64_t row,
                                           const Tensor& offsets) const {
    fe::graph::Tensor_attributes tensor;
    tensor.set_name(name)
        .set_dim({shape_.documents, heads, shape_.longest, AttentionShape::head_dim})
        .set_stride({shape_.longest * row, AttentionShape::head_dim, row, 1});
    if (offsets) tensor.set_ragged_offset(offsets);
    return tensor;
  }

  void describe_stats(fe::graph::Tensor_attributes& stats) const {
    const std::int64_t heads = shape_.q_heads;
    stats.set_data_type(fe::DataType_t::FLOAT).set_dim({shape_.documents, heads, shape_.longest, 1});
    if (shape_.ragged) {
      stats.set_stride({heads * shape_.longest, 1, heads, 1}).set_ragged_offset(stats_offsets_);
    } else {
      stats.set_stride({heads * shape_.longest, shape_.longest, 1, 1});
    }
  }

  void describe_rows(const Tensor& tensor, std::int64_t heads, std::int64_t row,
                     const Tensor& offsets) const {
    tensor->set_output(true)
        .set_dim({shape_.documents, heads, shape_.longest, AttentionShape::head_dim})
        .set_stride({shape_.longest * row, AttentionShape::head_dim, row, 1});
    if (offsets) tensor->set_ragged_offset(offsets);
  }

  template <typename Attributes>
  void describe_attention(Attributes& attributes) const {
    attributes.set_attn_scale(1.0f / std::sqrt(static_cast<float>(AttentionShape::head_dim)))
        .set_diagonal_alignment(fe::DiagonalAlignment_t::TOP_LEFT)
        .set_diagonal_band_right_bound(0);
    if (shape_.ragged) {
      attributes.set_padding_mask(true).set_seq_len_q(lengths_).set_seq_len_kv(lengths_);
    }
  }

  void add_forward() {
    fe::graph::SDPA_attributes attributes;
    attributes.set_name("attention").set_generate_stats(true);
    describe_attention(attributes);
    auto [o, stats] = graph_.sdpa(q_, k_, v_, attributes);
    o_ = o;
    stats_ = stats;
    describe_rows(o_, shape_.q_heads, shape_.q_heads * AttentionShape::head_dim, o_offsets_);
    stats_->set_output(true);
    describe_stats(*stats_);
  }

  void add_backward(bool deterministic) {
    const std::int64_t o_row = shape_.q_heads * AttentionShape::head_dim;
    o_ = graph_.tensor(rows_tensor("o", shape_.q_heads, o_row, o_offsets_));
    d_o_ = graph_.tensor(rows_tensor("d_o", shape_.q_heads, o_row, o_offsets_));
    fe::graph::Tensor_attributes stats;
    stats.set_name("stats");
    describe_stats(stats);
    stats_ = graph_.tensor(stats);
    fe::graph::SDPA_backward_attributes attributes;
    attributes.set_name("attention_backward").set_deterministic_algorithm(deterministic);
    describe_attention(attributes);
    if (shape_.ragged)
      attributes.set_max_total_seq_len_q(shape_.tokens).set_max_total_seq_len_kv(shape_.tokens);
    auto [d_q, d_k, d_v] = graph_.sdpa_backward(q_, k_, v_, o_, d_o_, stats_, attributes);
    d_q_ = d_q;
    d_k_ = d_k;
    d_v_ = d_v;
    describe_rows(d_q_, shape_.q_heads, shape_.row(), qkv_offsets_);
    describe_rows(d_k_, shape_.kv_heads, shape_.row(), qkv_offsets_);
    describe_rows(d_v_, shape_.kv_heads, shape_.row(), qkv_offsets_);
  }

  cudnnHandle_t handle_;
  AttentionShape shape_;
  fe::graph::Graph graph_;
  Tensor lengths_, qkv_offsets_, o_offsets_, stats_offsets_;
  Tensor q_, k_, v_, o_, stats_, d_o_, d_q_, d_k_, d_v_;
  std::int64_t workspace_bytes_ = 0;
  std::string name_;
};

}  // namespace

struct CudnnAttention::Handle {
  cudnnHandle_t value = nullptr;
  ~Handle() {
    if (value != nullptr) fe::detail::destroy_handle(value);
  }
};

CudnnAttention::CudnnAttention() : handle_(std::make_unique<Handle>()) {
  load_cudnn();
  check(fe::detail::create_handle(&handle_->value), "cudnnCreate");
}

CudnnAttention::~CudnnAttention() = default;

std::string CudnnAttention::version() const {
  return std::to_string(fe::detail::get_backend_version());
}

std::unique_ptr<AttentionPlan> CudnnAttention::plan(const AttentionShape& shape, AttentionPass pass) {
  return std::make_unique<Plan>(handle_->value, shape, pass);
}

}  // namespace gpu_facts
