// CUDA form of ops/attention.h; shapes are checked there.
#pragma once

#include "ops/attention.h"

namespace rlcpp::ops::cuda {

void attention_forward(const Context& ctx, const Tensor& out, const Tensor& lse, const Tensor& qkv,
                       const Documents& documents, const QkvShape& shape, float scale);
void attention_backward(const Context& ctx, const Tensor& dqkv, const Tensor& dout, const Tensor& out,
                        const Tensor& lse, const Tensor& qkv, const Tensor& delta, const Documents& documents,
                        const QkvShape& shape, float scale);
bool documents_in_library(const Context& ctx, std::int64_t rows, std::int64_t documents, std::int64_t longest,
                          const QkvShape& shape, float scale);
void use_attention_kernels(const Context& ctx, AttentionKernels kernels);
void kv_write(const Context& ctx, const KvPages& pages, const Tensor& qkv, const Tensor& slots,
              const QkvShape& shape);
void kv_copy(const Context& ctx, const KvPages& pages, const Tensor& pairs);
void attention_paged(const Context& ctx, const Tensor& out, const Tensor& qkv, const KvPages& pages,
                     const Tensor& positions, const Tensor& sequence_of, const Tensor& block_tables,
                     const QkvShape& shape, float scale, const PagedWork& work);
bool takes_paged_work(const QkvShape& shape, std::int64_t page_size);

}  // namespace rlcpp::ops::cuda
