// Do different cuBLASLt algorithms without split-K give the same bits? Every algorithm that the library
// accepts with no workspace is run once and its output compared with the first proposal's; equal outputs form
// a class. Then f32 output and accumulation onto f32 (beta = 1).
#include <fmt/format.h>

#include <chrono>
#include <map>

#include "cublaslt.h"
#include "matmul_data.h"
#include "sections.h"

namespace gpu_facts {
namespace {

struct BitClass {
  int algos = 0;
  std::map<int, int> ids;  // algorithm id -> how many of its variants
  std::string example;
  Differences differences;
};

void classes(const NamedProduct& named, std::int64_t m, double seconds) {
  const Stream stream;
  const DeviceBuffer workspace(lt_workspace_bytes);
  const MatmulData data(m, named.n, named.k, stream.get());
  const std::size_t columns = static_cast<std::size_t>(named.n);
  const std::size_t bytes = static_cast<std::size_t>(m) * columns * 2;
  const DeviceBuffer reference(bytes), y(bytes);
  const LtProduct product(m, named.n, named.k);
  std::vector<LtAlgo> algos = product.proposals(24, true);
  const std::size_t proposed = algos.size();
  product.run(algos.front(), data.x.data(), data.weight(0), reference.data(), 0, workspace, stream.get());
  const std::vector<LtAlgo> all = product.enumerate(48);
  algos.insert(algos.end(), all.begin(), all.end());
  std::map<std::uint64_t, BitClass> found;
  int failed = 0, tried = 0;
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  for (const LtAlgo& algo : algos) {
    if (std::chrono::steady_clock::now() > end) break;
    ++tried;
    y.poison(stream.get());
    try {
      product.run(algo, data.x.data(), data.weight(0), y.data(), 0, workspace, stream.get());
      stream.wait();
    } catch (const std::exception&) {
      ++failed;
      check(cudaDeviceSynchronize(), "the device after a refused algorithm");
      continue;
    }
    BitClass& of = found[hash_bits(y.data(), bytes, stream.get())];
    const LtAttributes a = attributes(algo);
    if (of.algos++ == 0) {
      of.example = a.text();
      of.differences =
          compare_bf16(y.data(), reference.data(), static_cast<std::size_t>(m), columns, stream.get());
    }
    ++of.ids[a.id];
  }
  for (const auto& [hash, of] : found) {
    Json line;
    line["section"] = "algos";
    line["product"] = named.name;
    line["m"] = m;
    line["bits"] = fmt::format("{:016x}", hash);
    line["algos"] = of.algos;
    line["of"] = tried;
    line["share_of_outputs_unlike_first_proposal"] =
        static_cast<double>(of.differences.values) / (static_cast<double>(m) * static_cast<double>(named.n));
    line["rms_ratio"] = of.differences.rms_ratio;
    line["not_finite"] = of.differences.not_finite;
    line["example"] = of.example;
    for (const auto& [id, count] : of.ids) line["variants_by_id"][std::to_string(id)] = count;
    emit(line,
         fmt::format(
             "{:12s} M {:5d}: {:4d} of {} algos alike, {:.4f} of outputs unlike the first proposal, e.g. {}",
             named.name, m, of.algos, tried, line["share_of_outputs_unlike_first_proposal"].get<double>(),
             of.example));
  }
  Json line;
  line["section"] = "algos";
  line["product"] = named.name;
  line["m"] = m;
  line["proposed"] = proposed;
  line["enumerated"] = all.size();
  line["tried"] = tried;
  line["failed"] = failed;
  line["distinct_results"] = found.size();
  emit(line, fmt::format("{:12s} M {:5d}: {} algos tried ({} failed), {} distinct results", named.name, m,
                         tried, failed, found.size()));
}

void f32_output(const NamedProduct& named, std::int64_t m) {
  const Stream stream;
  const DeviceBuffer workspace(lt_workspace_bytes);
  const MatmulData data(m, named.n, named.k, stream.get());
  const std::size_t rows = static_cast<std::size_t>(m), columns = static_cast<std::size_t>(named.n);
  const std::size_t count = rows * columns;
  const DeviceBuffer y16(count * 2), rounded(count * 2), y32(count * 4), sum(count * 4), start(count * 4),
      own(count * 4);
  const LtProduct to16(m, named.n, named.k), to32(m, named.n, named.k, LtOutput::f32);
  const LtAlgo algo16 = to16.proposals(1, true).front(), algo32 = to32.proposals(1, true).front();
  to16.run(algo16, data.x.data(), data.weight(0), y16.data(), 0, workspace, stream.get());
  to32.run(algo32, data.x.data(), data.weight(0), y32.data(), 0, workspace, stream.get());
  round_to_bf16(y32.as<float>(), rounded.data(), count, stream.get());
  const Differences narrow = compare_bf16(rounded.data(), y16.data(), rows, columns, stream.get());
  check(cudaMemsetAsync(sum.data(), 0, sum.bytes(), stream.get()), "zero");
  to32.run(algo32, data.x.data(), data.weight(0), sum.data(), 1, workspace, stream.get());
  const Differences onto_zero = compare_f32(sum.data(), y32.data(), rows, columns, stream.get());
  fill_bf16(y16.data(), count, 1.0f, 7, stream.get());
  bf16_to_f32(y16.data(), start.as<float>(), count, stream.get());
  check(cudaMemcpyAsync(sum.data(), start.data(), sum.bytes(), cudaMemcpyDeviceToDevice, stream.get()),
        "copy");
  to32.run(algo32, data.x.data(), data.weight(0), sum.data(), 1, workspace, stream.get());
  add_f32(start.as<float>(), y32.as<float>(), own.as<float>(), count, stream.get());
  const Differences onto_random = compare_f32(sum.data(), own.data(), rows, columns, stream.get());
  const double all = static_cast<double>(count);
  Json line;
  line["section"] = "algos";
  line["product"] = named.name;
  line["m"] = m;
  line["algo_bf16"] = attributes(algo16).text();
  line["algo_f32"] = attributes(algo32).text();
  line["f32_rounded_unlike_bf16_share"] = static_cast<double>(narrow.values) / all;
  line["beta_1_onto_zero_unlike_beta_0_share"] = static_cast<double>(onto_zero.values) / all;
  line["beta_1_unlike_sum_rounded_once_share"] = static_cast<double>(onto_random.values) / all;
  line["not_finite"] = narrow.not_finite + onto_zero.not_finite + onto_random.not_finite;
  emit(line,
       fmt::format(
           "{:12s} M {:5d}: f32 output rounded unlike bf16 output {:.5f}, beta 1 onto zero {:.5f}, beta 1 "
           "unlike c + y {:.5f} (shares of outputs)",
           named.name, m, static_cast<double>(narrow.values) / all,
           static_cast<double>(onto_zero.values) / all, static_cast<double>(onto_random.values) / all));
}

}  // namespace

void algos_section() {
  for (const NamedProduct& named : model_products()) {
    const std::string name = named.name;
    if (name != "0.6B gate_up" && name != "0.6B down" && name != "4B down") continue;
    for (const std::int64_t m : {8192, 64}) {
      guarded("algos", name, [&] { classes(named, m, 7); });
      guarded("algos", name + " f32", [&] { f32_output(named, m); });
    }
  }
}

}  // namespace gpu_facts
