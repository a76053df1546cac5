// How long a collective takes, from what bench_collectives measured (benchmarks/collectives/*.json).
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

namespace rlcpp::bench {

struct CollectiveFigure {
  std::string collective;  // all_reduce, reduce_scatter or all_gather
  std::string type;        // f32 or bf16
  double bytes = 0;        // of the whole tensor
  double seconds = 0;      // of one call, called one after the other
};

struct CollectiveFile {
  std::string device_name, carrier, date;
  int num_gpus = 0;
  std::vector<CollectiveFigure> figures;
};

// Throws bad_input naming `where` and what is wrong.
CollectiveFile collectives_from_json(const std::string& text, const std::string& where);
// Every *.json of a directory, by file name. A path that is not there has none.
std::vector<CollectiveFile> read_collectives(const std::string& path);

// The bytes that each rank's link carries for one byte of the tensor, whatever the algorithm (nccl-tests,
// doc/PERFORMANCE.md): 2 (n - 1) / n for all_reduce, (n - 1) / n for reduce_scatter and all_gather.
double bus_share(const std::string& collective, int ranks);

// latency + bytes * bus_share / bandwidth, fitted to the figures of one collective and number of GPUs by
// least squares of the relative error.
struct LinkFit {
  double latency = 0;    // seconds
  double bandwidth = 0;  // bytes a second of a link
};

// The links between the GPUs of one kind.
class Links {
 public:
  // Takes the files of `device_name`.
  Links(const std::vector<CollectiveFile>& files, const std::string& device_name);
  bool any() const { return !fits_.empty(); }
  bool measured(int ranks) const;
  // Seconds of one collective over `bytes`; 0 for one rank. Where this number of GPUs was not measured, with
  // latency and link bandwidth of the nearest that was, the smaller of two as near. Throws runtime_failure
  // if that collective was not measured at all.
  double seconds(const std::string& collective, double bytes, int ranks) const;

 private:
  std::map<std::pair<std::string, int>, LinkFit> fits_;
};

}  // namespace rlcpp::bench
