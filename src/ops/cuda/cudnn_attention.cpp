#include "ops/cuda/cudnn_attention.h"

#include <cuda_runtime_api.h>
#include <dlfcn.h>

#include <array>
#include <cstring>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/error.h"

// cudnn-frontend looks for a shared CUDA runtime (and takes a libcudart.so.12 with the headers of 13, whose
// structures differ). This binary has its own, linked statically: the few functions that cudnn-frontend calls
// are handed to it by name, and a machine needs only the driver and cuDNN.
namespace rlcpp::ops::cuda {
namespace {

char our_cuda_runtime = 0;  // its address stands for the linked runtime

void* frontend_open(const char* name, int flags) {
  const std::string_view wanted = name;
  if (wanted == "libcudart.so.13") return &our_cuda_runtime;
  if (wanted.starts_with("libcudart.so")) return nullptr;
  return ::dlopen(wanted == "libcuda.so" ? "libcuda.so.1" : name, flags);
}

void* frontend_symbol(void* library, const char* name) {
  if (library != &our_cuda_runtime) return ::dlsym(library, name);
  const auto address = [](auto* function) { return reinterpret_cast<void*>(function); };
  const std::string_view wanted = name;
  if (wanted == "cudaGetDevice") return address(&cudaGetDevice);
  if (wanted == "cudaGetDeviceProperties") {
    cudaError_t (*const function)(cudaDeviceProp*, int) = &cudaGetDeviceProperties;
    return address(function);
  }
  if (wanted == "cudaGetErrorString") return address(&cudaGetErrorString);
  if (wanted == "cudaMemcpyAsync") return address(&cudaMemcpyAsync);
  if (wanted == "cudaMemsetAsync") return address(&cudaMemsetAsync);
  if (wanted == "cudaStreamIsCapturing") return address(&cudaStreamIsCapturing);
  return nullptr;  // cudnn-frontend then throws with the name
}

}  // namespace
}  // namespace rlcpp::ops::cuda

#define dlopen(name, flags) ::rlcpp::ops::cuda::frontend_open(name, flags)
#define dlsym(library, name) ::rlcpp::ops::cuda::frontend_symbol(library, name)
#include <cudnn_frontend.h>
#undef dlopen
#undef dlsym

namespace cudnn_frontend {
void* cudnn_dlhandle = nullptr;  // cudnn-frontend asks its user to define and fill this one
}

namespace rlcpp::ops::cuda {
namespace {

namespace fe = cudnn_frontend;
using CudnnTensor = std::shared_ptr<fe::graph::Tensor_attributes>;

// The plain name goes through the loader's own places.
constexpr std::array kCudnnNames = {"libcudnn.so.9", "/usr/local/cuda/lib64/libcudnn.so.9"};

struct CudnnRefusal {
  std::string why;
};

void require(fe::error_t error) {
  if (error.is_bad()) throw CudnnRefusal{error.get_message()};
}

class Graph final : public CudnnAttentionGraph {
 public:
  Graph(cudnnHandle_t handle, const CudnnAttentionShape& shape) : handle_(handle), shape_(shape) {
    graph_.set_io_data_type(fe::DataType_t::BFLOAT16)
        .set_intermediate_data_type(fe::DataType_t::FLOAT)
        .set_compute_data_type(fe::DataType_t::FLOAT);
    if (shape.ragged) {
      lengths_ = integers("lengths", shape.documents);
      qkv_offsets_ = integers("qkv_offsets", shape.documents + 1);
      out_offsets_ = integers("out_offsets", shape.documents + 1);
      stats_offsets_ = integers("stats_offsets", shape.documents + 1);
    }
    q_ = rows("q", shape.heads, shape.qkv_row, qkv_offsets_);
    k_ = rows("k", shape.kv_heads, shape.qkv_row, qkv_offsets_);
    v_ = rows("v", shape.kv_heads, shape.qkv_row, qkv_offsets_);
    if (shape.backward) {
      add_backward();
    } else {
      add_forward();
    }
    require(graph_.validate());
    require(graph_.build_operation_graph(handle));
    require(graph_.create_execution_plans({fe::HeurMode_t::A}));
    require(graph_.check_support(handle));
    require(graph_.build_plans(handle));
    require(graph_.get_workspace_size(workspace_bytes_));
  }

  std::int64_t workspace_bytes() const override { return workspace_bytes_; }

  void run(const CudnnAttentionData& data, void* workspace, cudaStream_t stream) override {
    const auto writable = [](const void* address) { return const_cast<void*>(address); };
    std::unordered_map<CudnnTensor, void*> places = {{q_, writable(data.q)},
                                                     {k_, writable(data.k)},
                                                     {v_, writable(data.v)},
                                                     {out_, data.out},
                                                     {stats_, data.stats}};
    if (shape_.backward) {
      places[dout_] = writable(data.dout);
      places[dq_] = data.dq;
      places[dk_] = data.dk;
      places[dv_] = data.dv;
    }
    if (shape_.ragged) {
      places[lengths_] = writable(data.lengths);
      places[qkv_offsets_] = writable(data.qkv_offsets);
      places[out_offsets_] = writable(data.out_offsets);
      places[stats_offsets_] = writable(data.stats_offsets);
    }
    if (const cudnnStatus_t status = fe::detail::set_stream(handle_, stream);
        status != CUDNN_STATUS_SUCCESS) {
      throw runtime_failure("cuDNN refused a stream", "status " + std::to_string(static_cast<int>(status)));
    }
    if (fe::error_t error = graph_.execute(handle_, places, workspace); error.is_bad()) {
      throw runtime_failure("cuDNN's attention failed", error.get_message(),
                            "run again with CUDNN_LOGLEVEL_DBG=1 in the environment to see its reasons");
    }
  }

 private:
  CudnnTensor integers(const char* name, std::int64_t count) {
    return graph_.tensor(fe::graph::Tensor_attributes()
                             .set_name(name)
                             .set_data_type(fe::DataType_t::INT32)
                             .set_dim({count, 1, 1, 1})
                             .set_stride({1, 1, 1, 1}));
  }

  // [documents, heads, longest, head_dim] over rows of tokens.
  void describe(fe::graph::Tensor_attributes& tensor, std::int64_t heads, std::int64_t row,
                const CudnnTensor& offsets) const {
    tensor.set_dim({shape_.documents, heads, shape_.longest, shape_.head_dim})
        .set_stride({shape_.longest * row, shape_.head_dim, row, 1});
    if (offsets) tensor.set_ragged_offset(offsets);
  }
  CudnnTensor rows(const char* name, std::int64_t heads, std::int64_t row, const CudnnTensor& offsets) {
    fe::graph::Tensor_attributes tensor;
    tensor.set_name(name);
    describe(tensor, heads, row, offsets);
    return graph_.tensor(tensor);
  }

  void describe_stats(fe::graph::Tensor_attributes& stats) const {
    const std::int64_t heads = shape_.heads;
    const std::int64_t longest = shape_.longest;
    stats.set_data_type(fe::DataType_t::FLOAT).set_dim({shape_.documents, heads, longest, 1});
    if (shape_.ragged) {
      stats.set_stride({heads * longest, 1, heads, 1}).set_ragged_offset(stats_offsets_);
    } else {
      stats.set_stride({heads * longest, longest, 1, 1});
    }
  }

  template <class Attributes>
  void describe_attention(Attributes& attributes) const {
    attributes.set_attn_scale(shape_.scale)
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
    auto [out, stats] = graph_.sdpa(q_, k_, v_, attributes);
    out_ = out;
    stats_ = stats;
    describe(out_->set_output(true), shape_.heads, shape_.out_row, out_offsets_);
    describe_stats(stats_->set_output(true));
  }

  void add_backward() {
    out_ = rows("out", shape_.heads, shape_.out_row, out_offsets_);
    dout_ = rows("dout", shape_.heads, shape_.out_row, out_offsets_);
    fe::graph::Tensor_attributes stats;
    stats.set_name("stats");
    describe_stats(stats);
    stats_ = graph_.tensor(stats);
    fe::graph::SDPA_backward_attributes attributes;
    attributes.set_name("attention_backward").set_deterministic_algorithm(!shape_.unordered);
    describe_attention(attributes);
    auto [dq, dk, dv] = graph_.sdpa_backward(q_, k_, v_, out_, dout_, stats_, attributes);
    dq_ = dq;
    dk_ = dk;
    dv_ = dv;
    describe(dq_->set_output(true), shape_.heads, shape_.qkv_row, qkv_offsets_);
    describe(dk_->set_output(true), shape_.kv_heads, shape_.qkv_row, qkv_offsets_);
    describe(dv_->set_output(true), shape_.kv_heads, shape_.qkv_row, qkv_offsets_);
  }

  cudnnHandle_t handle_;
  CudnnAttentionShape shape_;
  fe::graph::Graph graph_;
  CudnnTensor lengths_, qkv_offsets_, out_offsets_, stats_offsets_;
  CudnnTensor q_, k_, v_, out_, stats_, dout_, dq_, dk_, dv_;
  std::int64_t workspace_bytes_ = 0;
};

}  // namespace

struct CudnnAttention::Handle {
  cudnnHandle_t value = nullptr;
  ~Handle() {
    if (value != nullptr) fe::detail::destroy_handle(value);
  }
};

CudnnAttention::CudnnAttention(std::unique_ptr<Handle> handle) : handle_(std::move(handle)) {}
CudnnAttention::~CudnnAttention() = default;

std::unique_ptr<CudnnAttention> CudnnAttention::open(std::string* why) {
  // Never closed: its kernels belong to the CUDA context, which lives as long as the process. Several
  // threads may make contexts at once.
  static const std::string failure = [] {
    std::string first;
    for (const char* name : kCudnnNames) {
      fe::cudnn_dlhandle = dlopen(name, RTLD_NOW | RTLD_GLOBAL | RTLD_NODELETE);
      if (fe::cudnn_dlhandle != nullptr) return std::string();
      if (const char* reason = dlerror(); reason != nullptr && first.empty()) first = reason;
    }
    return first.empty() ? std::string("cuDNN cannot be loaded") : first;
  }();
  if (!failure.empty()) {
    *why = failure;
    return nullptr;
  }
  try {
    auto handle = std::make_unique<Handle>();
    if (const cudnnStatus_t status = fe::detail::create_handle(&handle->value);
        status != CUDNN_STATUS_SUCCESS) {
      handle->value = nullptr;
      *why = "cudnnCreate: status " + std::to_string(static_cast<int>(status));
      return nullptr;
    }
    return std::unique_ptr<CudnnAttention>(new CudnnAttention(std::move(handle)));
  } catch (const std::exception& error) {  // a function that this cuDNN lacks
    *why = error.what();
    return nullptr;
  }
}

std::unique_ptr<CudnnAttentionGraph> CudnnAttention::build(const CudnnAttentionShape& shape,
                                                           std::string* why) {
  if (shape.ragged && shape.backward) {
    *why = "the workspace of a deterministic backward of ragged documents has no useful bound";
    return nullptr;
  }
  try {
    return std::make_unique<Graph>(handle_->value, shape);
  } catch (const CudnnRefusal& refusal) {
    *why = refusal.why;
  } catch (const std::exception& error) {
    *why = error.what();
  }
  return nullptr;
}

}  // namespace rlcpp::ops::cuda
