// The price of a product with a fixed order over k: cuBLASLt over chunks of k accumulating in f32, and our
// own simple kernels; and whether the bits of either depend on the number of rows.
#include <fmt/format.h>

#include <array>

#include "cublaslt.h"
#include "fixed_order.h"
#include "matmul_data.h"
#include "sections.h"

namespace gpu_facts {
namespace {

constexpr std::int64_t reference_rows = 8192;

class Study {
 public:
  explicit Study(const NamedProduct& product)
      : product_(product),
        workspace_(lt_workspace_bytes),
        data_(reference_rows, product.n, product.k, stream_.get()),
        reference_(count(reference_rows) * 2),
        y_(count(reference_rows) * 2),
        y32_(count(reference_rows) * 4) {}

  void run() {
    for (const std::int64_t m : rows) guarded("order", label(m, "one call"), [&] { one_call(m); });
    for (const std::int64_t chunk : {512, 1024}) {
      if (product_.k % chunk != 0) continue;  // a last, shorter chunk would be another product
      for (const std::int64_t m : rows) {
        guarded("order", label(m, fmt::format("chunks of {}", chunk)), [&] { chunks(m, chunk); });
      }
    }
    for (const FixedOrder kind : {FixedOrder::mma, FixedOrder::wgmma}) {
      for (const std::int64_t m : rows) {
        guarded("order", label(m, name(kind)), [&] { own_kernel(m, kind); });
      }
    }
  }

 private:
  static constexpr std::array<std::int64_t, 5> rows = {8192, 256, 64, 8,
                                                       1};  // the reference of the bits first
  static const char* name(FixedOrder kind) { return kind == FixedOrder::mma ? "mma kernel" : "wgmma kernel"; }
  std::string label(std::int64_t m, const std::string& what) const {
    return fmt::format("{:12s} M {:5d} {}", product_.name, m, what);
  }
  std::size_t count(std::int64_t m) const { return static_cast<std::size_t>(m * product_.n); }

  void write(const std::string& what, std::int64_t m, double ms, Json line) {
    const double tflops = 2e-9 * static_cast<double>(count(m)) * static_cast<double>(product_.k) / ms;
    line["section"] = "order";
    line["product"] = product_.name;
    line["what"] = what;
    line["m"] = m;
    line["ms"] = ms;
    line["tflops"] = tflops;
    const std::string bits =
        line.contains("rows_unlike_8192")
            ? fmt::format(", rows unlike M 8192: {}", line["rows_unlike_8192"].get<std::uint64_t>())
            : std::string();
    emit(line, fmt::format("{}: {:8.4f} ms {:6.1f} TFLOP/s{}", label(m, what), ms, tflops, bits));
  }

  // Keeps y_ of the first M, later compares with it.
  void compare_rows(std::int64_t m, Json& line) {
    if (m == reference_rows) {
      check(
          cudaMemcpyAsync(reference_.data(), y_.data(), y_.bytes(), cudaMemcpyDeviceToDevice, stream_.get()),
          "keep");
    }
    const Differences d = compare_bf16(y_.data(), reference_.data(), static_cast<std::size_t>(m),
                                       static_cast<std::size_t>(product_.n), stream_.get());
    line["rows_unlike_8192"] = d.rows;
    line["share_of_outputs_unlike"] = static_cast<double>(d.values) / static_cast<double>(count(m));
    line["not_finite"] = d.not_finite;
  }

  LtAlgo fastest(const LtProduct& product, std::int64_t m) {
    LtAlgo best;
    double least = 1e30;
    for (const LtAlgo& algo : product.proposals(6, false)) {
      const double ms = graph_ms(stream_.get(), data_.calls(m), [&](int call) {
        product.run(algo, data_.x.data(), data_.weight(call), y32_.data(), 0, workspace_, stream_.get());
      });
      if (ms < least) least = ms, best = algo;
    }
    return best;
  }

  void one_call(std::int64_t m) {
    const LtProduct product(m, product_.n, product_.k);
    const LtAlgo algo = fastest(product, m);
    Json line;
    line["algo"] = attributes(algo).text();
    write("one call", m,
          graph_ms(stream_.get(), data_.calls(m),
                   [&](int call) {
                     product.run(algo, data_.x.data(), data_.weight(call), y_.data(), 0, workspace_,
                                 stream_.get());
                   }),
          line);
  }

  // Chunk after chunk onto the same f32 output, then one rounding. The algorithm is one for all M, from M =
  // 8192 and without splits, so that differing rows are not its doing; the time of the fastest choice for M
  // is printed beside.
  void chunks(std::int64_t m, std::int64_t chunk) {
    const LtProduct product(m, product_.n, chunk, LtOutput::f32, product_.k);
    const LtProduct at_reference(reference_rows, product_.n, chunk, LtOutput::f32, product_.k);
    const auto fixed = product.adapt(at_reference.proposals(1, true).front());
    if (!fixed) throw std::runtime_error("the algorithm of M = 8192 is refused here");
    const LtAlgo quick = fastest(product, m);
    const auto all = [&](const LtAlgo& algo, int call) {
      for (std::int64_t k0 = 0; k0 < product_.k; k0 += chunk) {
        product.run(algo, data_.x.as<char>() + k0 * 2, static_cast<const char*>(data_.weight(call)) + k0 * 2,
                    y32_.data(), k0 == 0 ? 0.0f : 1.0f, workspace_, stream_.get());
      }
      round_to_bf16(y32_.as<float>(), y_.data(), count(m), stream_.get());
    };
    y_.poison(stream_.get());
    y32_.poison(stream_.get());
    all(*fixed, 0);
    Json line;
    compare_rows(m, line);
    line["chunk"] = chunk;
    line["algo_fixed"] = attributes(*fixed).text();
    line["algo_fastest"] = attributes(quick).text();
    line["ms_fixed"] = graph_ms(stream_.get(), data_.calls(m), [&](int call) { all(*fixed, call); });
    const double ms = graph_ms(stream_.get(), data_.calls(m), [&](int call) { all(quick, call); });
    write(fmt::format("chunks of {}", chunk), m, ms, line);
  }

  void own_kernel(std::int64_t m, FixedOrder kind) {
    const auto product = [&](int call) {
      fixed_order_product(kind, data_.x.data(), data_.weight(call), y_.data(), m, product_.n, product_.k,
                          stream_.get());
    };
    y_.poison(stream_.get());
    product(0);
    Json line;
    compare_rows(m, line);
    // Against cuBLASLt without splits: equal bits would say that both add in the same order.
    const LtProduct library(m, product_.n, product_.k);
    const DeviceBuffer theirs(count(m) * 2);
    library.run(library.proposals(1, true).front(), data_.x.data(), data_.weight(0), theirs.data(), 0,
                workspace_, stream_.get());
    const Differences d = compare_bf16(y_.data(), theirs.data(), static_cast<std::size_t>(m),
                                       static_cast<std::size_t>(product_.n), stream_.get());
    line["share_of_outputs_unlike_cublaslt"] = static_cast<double>(d.values) / static_cast<double>(count(m));
    line["rms_ratio_to_cublaslt"] = d.rms_ratio;
    write(name(kind), m, graph_ms(stream_.get(), data_.calls(m), product), line);
    if (d.rms_ratio > 1e-2) throw std::runtime_error("the kernel is wrong: its time means nothing");
  }

  NamedProduct product_;
  Stream stream_;
  DeviceBuffer workspace_;
  MatmulData data_;
  DeviceBuffer reference_, y_, y32_;
};

}  // namespace

void order_section() {
  for (const NamedProduct& named : model_products()) {
    const std::string name = named.name;
    if (name.find("gate_up") == std::string::npos && name.find("down") == std::string::npos) continue;
    guarded("order", name, [&] { Study(named).run(); });
  }
}

}  // namespace gpu_facts
