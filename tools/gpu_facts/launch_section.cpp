// What launching costs: graphs of 28 layers of tiny kernels, with and without programmatic dependent launch,
// and the same kernels launched one by one.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <vector>

#include "common.h"
#include "kernels.h"
#include "sections.h"

namespace gpu_facts {
namespace {

using Clock = std::chrono::steady_clock;

double microseconds(Clock::duration time) {
  return std::chrono::duration<double, std::micro>(time).count();
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

void graphs(int layers, int per_layer, int blocks, bool dependent) {
  const Stream stream;
  const int kernels = layers * per_layer;
  const DeviceBuffer data(static_cast<std::size_t>(blocks) * 128 * 4);
  fill_bf16(data.data(), data.bytes() / 2, 1.0f, 3, stream.get());
  tiny_kernel(data.as<float>(), blocks, false, stream.get());
  stream.wait();
  const auto before = Clock::now();
  const Graph graph(stream.get(), [&] {
    for (int i = 0; i < kernels; ++i) tiny_kernel(data.as<float>(), blocks, dependent, stream.get());
  });
  const double build_us = microseconds(Clock::now() - before);
  const double device_us = 1e3 * median_ms(
                                     stream.get(), [&] { graph.launch(stream.get()); }, 21);
  std::vector<double> cpu, whole;
  for (int i = 0; i < 21; ++i) {
    stream.wait();
    const auto begin = Clock::now();
    graph.launch(stream.get());
    cpu.push_back(microseconds(Clock::now() - begin));
    stream.wait();
    whole.push_back(microseconds(Clock::now() - begin));
  }
  Json line;
  line["section"] = "launch";
  line["what"] = "graph";
  line["dependent_launch"] = dependent;
  line["kernels"] = kernels;
  line["blocks"] = blocks;
  line["replay_us"] = device_us;
  line["us_per_kernel"] = device_us / kernels;
  line["launch_call_cpu_us"] = median(cpu);
  line["launch_to_finished_us"] = median(whole);
  line["capture_and_instantiate_us"] = build_us;
  emit(line,
       fmt::format(
           "graph of {} x {:2d} kernels of {:3d} blocks{}: {:7.1f} us a replay, {:.3f} us a kernel; the call "
           "{:.1f} us, call to finished {:.1f} us, built in {:.0f} us",
           layers, per_layer, blocks, dependent ? ", dependent launch" : "", device_us, device_us / kernels,
           median(cpu), median(whole), build_us));
}

void plain(int kernels, int blocks, bool dependent) {
  const Stream stream;
  const DeviceBuffer data(static_cast<std::size_t>(blocks) * 128 * 4);
  fill_bf16(data.data(), data.bytes() / 2, 1.0f, 3, stream.get());
  std::vector<double> cpu, whole;
  for (int i = 0; i < 13; ++i) {
    stream.wait();
    const auto begin = Clock::now();
    for (int k = 0; k < kernels; ++k) tiny_kernel(data.as<float>(), blocks, dependent, stream.get());
    const auto called = Clock::now();
    stream.wait();
    if (i < 2) continue;  // warm-up
    cpu.push_back(microseconds(called - begin) / kernels);
    whole.push_back(microseconds(Clock::now() - begin) / kernels);
  }
  Json line;
  line["section"] = "launch";
  line["what"] = "stream";
  line["dependent_launch"] = dependent;
  line["kernels"] = kernels;
  line["blocks"] = blocks;
  line["cpu_us_per_kernel"] = median(cpu);
  line["us_per_kernel"] = median(whole);
  emit(line,
       fmt::format(
           "{} plain launches of {:3d} blocks{}: {:.3f} us a kernel, of it the calling thread {:.3f} us",
           kernels, blocks, dependent ? ", dependent launch" : "", median(whole), median(cpu)));
}

}  // namespace

void launch_section() {
  for (const int blocks : {1, 132}) {
    for (const bool dependent : {false, true}) {
      for (const int per_layer : {8, 12, 20}) {
        guarded("launch", "graph", [&] { graphs(28, per_layer, blocks, dependent); });
      }
      guarded("launch", "stream", [&] { plain(336, blocks, dependent); });
    }
  }
}

}  // namespace gpu_facts
