#include "ops/reference/attention.h"

#include <algorithm>
#include <cmath>

namespace rlcpp::ops::reference {
namespace {

// One query head: row i of its document, keys of the same kv head.
struct Query {
  std::int64_t first, row;  // first row of the document, the query's row
  std::int64_t q, k, v;     // columns of the heads in qkv
  std::int64_t out;         // column in out
  Doubles p;                // probabilities of keys first..row
  double lse;
};

template <class Visit>
void for_each_query(const Doubles& qkv, const std::vector<std::int32_t>& cu, const QkvShape& s, double scale,
                    Visit visit) {
  const std::int64_t group = s.num_heads / s.num_kv_heads;
  for (std::size_t d = 0; d + 1 < cu.size(); ++d) {
    for (std::int64_t row = cu[d]; row < cu[d + 1]; ++row) {
      for (std::int64_t head = 0; head < s.num_heads; ++head) {
        const std::int64_t k = (s.num_heads + head / group) * s.head_dim;
        Query query = {cu[d], row, head * s.head_dim, k, k + s.num_kv_heads * s.head_dim, head * s.head_dim,
                       {},    0};
        for (std::int64_t key = cu[d]; key <= row; ++key) {
          double score = 0;
          for (std::int64_t i = 0; i < s.head_dim; ++i) {
            score += qkv[row * s.width() + query.q + i] * qkv[key * s.width() + query.k + i];
          }
          query.p.push_back(score * scale);
        }
        const double max = *std::max_element(query.p.begin(), query.p.end());
        double sum = 0;
        for (const double score : query.p) sum += std::exp(score - max);
        query.lse = max + std::log(sum);
        for (double& score : query.p) score = std::exp(score - query.lse);
        visit(query, head);
      }
    }
  }
}

}  // namespace

AttentionOutput attention_forward(const Doubles& qkv, const std::vector<std::int32_t>& cu_seqlens,
                                  const QkvShape& shape, double scale) {
  const std::int64_t rows = cu_seqlens.back();
  AttentionOutput result = {Doubles(rows * shape.num_heads * shape.head_dim),
                            Doubles(rows * shape.num_heads)};
  for_each_query(qkv, cu_seqlens, shape, scale, [&](const Query& query, std::int64_t head) {
    result.lse[query.row * shape.num_heads + head] = query.lse;
    double* out = result.out.data() + query.row * shape.num_heads * shape.head_dim + query.out;
    for (std::int64_t j = 0; j <= query.row - query.first; ++j) {
      for (std::int64_t i = 0; i < shape.head_dim; ++i) {
        out[i] += query.p[j] * qkv[(query.first + j) * shape.width() + query.v + i];
      }
    }
  });
  return result;
}

Doubles attention_backward(const Doubles& dout, const Doubles& qkv,
                           const std::vector<std::int32_t>& cu_seqlens, const QkvShape& shape, double scale) {
  Doubles d(qkv.size());
  for_each_query(qkv, cu_seqlens, shape, scale, [&](const Query& query, std::int64_t) {
    const std::int64_t keys = query.row - query.first + 1;
    const double* gradient = dout.data() + query.row * shape.num_heads * shape.head_dim + query.out;
    Doubles dp(keys);
    double mean = 0;
    for (std::int64_t j = 0; j < keys; ++j) {
      for (std::int64_t i = 0; i < shape.head_dim; ++i) {
        dp[j] += gradient[i] * qkv[(query.first + j) * shape.width() + query.v + i];
      }
      mean += query.p[j] * dp[j];
    }
    for (std::int64_t j = 0; j < keys; ++j) {
      const double ds = query.p[j] * (dp[j] - mean) * scale;
      const std::int64_t key_row = (query.first + j) * shape.width();
      const std::int64_t query_row = query.row * shape.width();
      for (std::int64_t i = 0; i < shape.head_dim; ++i) {
        d[key_row + query.v + i] += query.p[j] * gradient[i];
        d[key_row + query.k + i] += ds * qkv[query_row + query.q + i];
        d[query_row + query.q + i] += ds * qkv[key_row + query.k + i];
      }
    }
  });
  return d;
}

}  // namespace rlcpp::ops::reference
