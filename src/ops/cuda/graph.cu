#include "ops/cuda/graph.h"

#include "ops/cuda/runtime_cuda.h"

namespace rlcpp::ops::cuda {

class CapturedGraph {
 public:
  CapturedGraph(std::shared_ptr<Runtime> runtime, cudaGraph_t graph) : runtime_(std::move(runtime)) {
    const cudaError_t status = cudaGraphInstantiate(&executable_, graph, 0);
    cudaGraphDestroy(graph);
    rlcpp::cuda::check(status, "cudaGraphInstantiate");
    rlcpp::cuda::check(cudaGraphUpload(executable_, runtime_->stream()), "cudaGraphUpload");
  }
  ~CapturedGraph() { cudaGraphExecDestroy(executable_); }
  CapturedGraph(const CapturedGraph&) = delete;
  CapturedGraph& operator=(const CapturedGraph&) = delete;
  void launch() const {
    rlcpp::cuda::check(cudaGraphLaunch(executable_, runtime_->stream()), "cudaGraphLaunch");
  }

 private:
  std::shared_ptr<Runtime> runtime_;
  cudaGraphExec_t executable_ = nullptr;
};

void CapturedGraphDeleter::operator()(CapturedGraph* graph) const {
  delete graph;
}

std::unique_ptr<CapturedGraph, CapturedGraphDeleter> capture(const Context& ctx,
                                                             const std::function<void()>& operations) {
  const cudaStream_t stream = stream_of(ctx);
  rlcpp::cuda::check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal),
                     "cudaStreamBeginCapture");
  cudaGraph_t graph = nullptr;
  try {
    operations();
  } catch (...) {
    cudaStreamEndCapture(stream, &graph);
    if (graph != nullptr) cudaGraphDestroy(graph);
    throw;
  }
  rlcpp::cuda::check(cudaStreamEndCapture(stream, &graph), "cudaStreamEndCapture");
  return std::unique_ptr<CapturedGraph, CapturedGraphDeleter>(new CapturedGraph(ctx.cuda, graph));
}

void launch(const CapturedGraph& graph) {
  graph.launch();
}

void copy_in_order(const Context& ctx, const Tensor& to, const Tensor& from) {
  rlcpp::cuda::check(cudaMemcpyAsync(to.raw(), from.raw(), to.bytes(), cudaMemcpyDefault, stream_of(ctx)),
                     "cudaMemcpyAsync");
}

}  // namespace rlcpp::ops::cuda
