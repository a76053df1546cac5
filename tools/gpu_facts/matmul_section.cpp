// Does a row of a cuBLASLt product depend on the number of rows? For each product of Qwen3-0.6B and 4B: the
// heuristic's choice at each M against its choice at M = 8192, one algorithm for every M, and the fastest
// proposal whose rows have the same bits as that one algorithm's.
#include <fmt/format.h>

#include <exception>

#include "cublaslt.h"
#include "matmul_data.h"
#include "sections.h"

namespace gpu_facts {
namespace {

constexpr std::int64_t reference_rows = 8192, most_rows = 16384;

class Study {
 public:
  explicit Study(const NamedProduct& product)
      : product_(product),
        workspace_(lt_workspace_bytes),
        data_(most_rows + 1, product.n, product.k, stream_.get()),
        fixed_y_(bytes(reference_rows)),
        heuristic_y_(bytes(reference_rows)),
        y_(bytes(most_rows)) {}

  void run() {
    const LtProduct at_reference(reference_rows, product_.n, product_.k);
    fixed_ = fastest(at_reference, reference_rows, at_reference.proposals(12, true));
    at_reference.run(fixed_, data_.row(0, product_.k), data_.weight(0), fixed_y_.data(), 0, workspace_,
                     stream_.get());
    const LtAlgo first = at_reference.proposals(1, false).front();
    at_reference.run(first, data_.row(0, product_.k), data_.weight(0), heuristic_y_.data(), 0, workspace_,
                     stream_.get());
    Json line;
    line["section"] = "matmul";
    line["product"] = product_.name;
    line["n"] = product_.n;
    line["k"] = product_.k;
    line["fixed_algo"] = attributes(fixed_).text();
    line["heuristic_algo_8192"] = attributes(first).text();
    line["heuristic_workspace_8192"] = first.workspace_bytes;
    const Differences across = compare_bf16(heuristic_y_.data(), fixed_y_.data(), reference_rows,
                                            static_cast<std::size_t>(product_.n), stream_.get());
    line["heuristic_vs_fixed_share_of_outputs"] = share(across.values, reference_rows);
    // The same rows at other places of the batch: row i of this run is row i + 1 of the reference.
    y_.poison(stream_.get());
    at_reference.run(fixed_, data_.row(1, product_.k), data_.weight(0), y_.data(), 0, workspace_,
                     stream_.get());
    const Differences moved =
        compare_bf16(y_.data(), fixed_y_.as<char>() + product_.n * 2, reference_rows - 1,
                     static_cast<std::size_t>(product_.n), stream_.get());
    line["fixed_rows_that_depend_on_their_place"] = moved.rows;
    line["not_finite"] = moved.not_finite;
    emit(line,
         fmt::format(
             "{:12s} fixed: {}; rows that depend on their place {}; heuristic differs in {:.4f} of outputs",
             product_.name, attributes(fixed_).text(), moved.rows, share(across.values, reference_rows)));
    for (std::int64_t m = 1; m <= most_rows; m *= 2) {
      guarded("matmul", fmt::format("{} M {}", product_.name, m), [&] { at(m); });
    }
  }

 private:
  std::size_t bytes(std::int64_t m) const { return static_cast<std::size_t>(m * product_.n) * 2; }
  double share(std::uint64_t values, std::int64_t m) const {
    return static_cast<double>(values) / (static_cast<double>(m) * static_cast<double>(product_.n));
  }

  double time(const LtProduct& product, std::int64_t m, const LtAlgo& algo) {
    const int count = m * product_.n > (std::int64_t{1} << 28) ? 7 : repeats;
    return graph_ms(
        stream_.get(), data_.calls(m),
        [&](int call) {
          product.run(algo, data_.row(0, product_.k), data_.weight(call), y_.data(), 0, workspace_,
                      stream_.get());
        },
        count);
  }

  LtAlgo fastest(const LtProduct& product, std::int64_t m, const std::vector<LtAlgo>& algos) {
    double best = 1e30;
    LtAlgo result = algos.front();
    for (const LtAlgo& algo : algos) {
      const double ms = time(product, m, algo);
      if (ms < best) {
        best = ms;
        result = algo;
      }
    }
    return result;
  }

  Differences against(const DeviceBuffer& reference, const LtProduct& product, std::int64_t m,
                      const LtAlgo& algo) {
    y_.poison(stream_.get());
    product.run(algo, data_.row(0, product_.k), data_.weight(0), y_.data(), 0, workspace_, stream_.get());
    return compare_bf16(y_.data(), reference.data(), static_cast<std::size_t>(std::min(m, reference_rows)),
                        static_cast<std::size_t>(product_.n), stream_.get());
  }

  void at(std::int64_t m) {
    const LtProduct product(m, product_.n, product_.k);
    const std::int64_t compared = std::min(m, reference_rows);
    const std::vector<LtAlgo> any = product.proposals(6, false);
    Json line;
    line["section"] = "matmul";
    line["product"] = product_.name;
    line["m"] = m;
    std::vector<LtAlgo> plain;  // may be none for few rows: then the others are still measured
    try {
      plain = product.proposals(10, true);
    } catch (const std::exception& error) {
      line["no_plain_algos"] = error.what();
    }
    const Differences by_heuristic = against(heuristic_y_, product, m, any.front());
    line["heuristic_algo"] = attributes(any.front()).text();
    line["heuristic_workspace"] = any.front().workspace_bytes;
    line["heuristic_rows_differing"] = by_heuristic.rows;
    line["heuristic_share_of_outputs"] = share(by_heuristic.values, compared);
    line["heuristic_rms_ratio"] = by_heuristic.rms_ratio;
    line["heuristic_not_finite"] = by_heuristic.not_finite;
    double best = 1e30, best_same = 1e30;
    std::string best_text, best_same_text;
    int same = 0, tried = 0;
    const auto consider = [&](const LtAlgo& algo) {
      const double ms = time(product, m, algo);
      const bool equal = against(fixed_y_, product, m, algo).values == 0;
      ++tried;
      same += equal ? 1 : 0;
      if (ms < best) best = ms, best_text = attributes(algo).text();
      if (equal && ms < best_same) best_same = ms, best_same_text = attributes(algo).text();
      return ms;
    };
    double heuristic_ms = 0;
    for (const LtAlgo& algo : any) {
      const double ms = consider(algo);
      if (&algo == &any.front()) heuristic_ms = ms;
    }
    for (const LtAlgo& algo : plain) consider(algo);
    double fixed_ms = 0;
    Differences by_fixed;
    const auto usable = product.adapt(fixed_);
    if (usable) {
      by_fixed = against(fixed_y_, product, m, *usable);
      fixed_ms = consider(*usable);
      line["fixed_rows_differing"] = by_fixed.rows;
      line["fixed_share_of_outputs"] = share(by_fixed.values, compared);
      line["fixed_workspace"] = usable->workspace_bytes;
      line["fixed_ms"] = fixed_ms;
      line["fixed_over_best"] = fixed_ms / best;
    } else {
      line["fixed_refused"] = true;
    }
    line["heuristic_ms"] = heuristic_ms;
    line["best_ms"] = best;
    line["best_algo"] = best_text;
    line["best_tflops"] = 2e-9 * static_cast<double>(m * product_.n) * static_cast<double>(product_.k) / best;
    line["algos_tried"] = tried;
    line["algos_with_the_fixed_bits"] = same;
    if (same > 0) {
      line["best_same_bits_ms"] = best_same;
      line["best_same_bits_over_best"] = best_same / best;
      line["best_same_bits_algo"] = best_same_text;
    }
    emit(line, fmt::format(
                   "{:12s} M {:5d}: heuristic {:8.4f} ms, rows differing {:5d}/{}; fixed {:8.4f} ms x{:.2f}, "
                   "rows differing {}; same bits {:8.4f} ms x{:.2f} ({}/{} algos); best {:8.4f} ms",
                   product_.name, m, heuristic_ms, by_heuristic.rows, compared, fixed_ms, fixed_ms / best,
                   by_fixed.rows, same > 0 ? best_same : 0.0, same > 0 ? best_same / best : 0.0, same, tried,
                   best));
  }

  NamedProduct product_;
  Stream stream_;
  DeviceBuffer workspace_;
  MatmulData data_;
  DeviceBuffer fixed_y_, heuristic_y_, y_;
  LtAlgo fixed_;
};

}  // namespace

void matmul_section() {
  for (const NamedProduct& product : model_products()) {
    guarded("matmul", product.name, [&] { Study(product).run(); });
  }
}

}  // namespace gpu_facts
