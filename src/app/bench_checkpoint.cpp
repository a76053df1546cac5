// rlcpp bench-checkpoint: what a checkpoint costs on this machine, beside a plain file of the same bytes.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <thread>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "app/command.h"
#include "app/run_clock.h"
#include "app/run_model.h"
#include "app/run_start.h"
#include "app/run_training.h"
#include "app/version.h"
#include "base/durable.h"
#include "base/error.h"
#include "base/signals.h"
#include "data/fake_rl.h"
#include "model/checkpoint.h"
#include "monitor/console.h"
#include "ops/matmul.h"
#include "train/checkpoint.h"
#include "train/checkpoint_writer.h"

namespace rlcpp::app {
namespace {

namespace fs = std::filesystem;

struct BenchCheckpointConfig {
  ModelSection model;
  std::string directory = "checkpoint-bench", device = "auto";
  std::optional<std::string> staging;
  std::int64_t seq_len = 1024, rows = 1, rounds = 2, threads = 0;
  bool weights = true;

  void describe(config::Schema& s) {
    s.section("model", model, "The model; its weights are random.");
    s.field("directory", directory, "Where to write; made by the command, and removed at its end.");
    s.field("device", device, "Where the state lies: auto, cpu, cuda or cuda:N.");
    s.field("staging", staging, "As ckpt.staging of a run.");
    s.field("seq_len", seq_len, "Length of the rows of a step.").at_least(2).in("tokens");
    s.field("rows", rows, "Rows of a step.").at_least(1);
    s.field("rounds", rounds, "Checkpoints to write, one after the other.").at_least(1);
    s.field("threads", threads, "CPU threads of the trainer; 0: one a core.").at_least(0).at_most(1024);
    s.field("weights", weights, "Export bf16 weights with the checkpoint, as a run does.");
  }
};

struct Row {
  std::string name;
  double bytes = 0, seconds = 0;
  std::string note;
  double rate() const { return bytes / 1e9 / std::max(seconds, 1e-9); }
};

// Made by us, so removed by us, whatever happens.
class Scratch {
 public:
  explicit Scratch(const std::string& path) : path_(path) {
    std::error_code ignored;
    if (fs::exists(path, ignored)) {
      throw bad_input(path + " is there already", "the benchmark removes its directory at the end",
                      "name one that does not exist with --directory");
    }
    durable::make_directories(durable::system_files(), path);
  }
  ~Scratch() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

 private:
  std::string path_;
};

// So that the next read comes from the disk. Only clean pages go, so files are synced before.
void drop_from_cache(const std::string& path) {
  std::vector<std::string> files;
  if (fs::is_directory(path)) {
    for (const auto& entry : fs::recursive_directory_iterator(path)) {
      if (entry.is_regular_file()) files.push_back(entry.path().string());
    }
  } else {
    files.push_back(path);
  }
  for (const std::string& file : files) {
    const int fd = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) continue;
    ::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    ::close(fd);
  }
}

constexpr std::size_t kPiece = std::size_t{8} << 20;

double plain_write(const std::string& path, std::size_t bytes) {
  std::vector<std::byte> piece(kPiece);
  for (std::size_t i = 0; i < piece.size(); ++i) piece[i] = static_cast<std::byte>(i * 2654435761U >> 13);
  durable::FileLayer& files = durable::system_files();
  const double begin = monotonic_seconds();
  const int fd = files.open_new(path);
  for (std::size_t done = 0; done < bytes; done += kPiece)
    files.write(fd, std::span(piece).first(std::min(kPiece, bytes - done)));
  files.sync(fd);
  files.close(fd);
  return monotonic_seconds() - begin;
}

double plain_read(const std::string& path) {
  std::vector<std::byte> piece(kPiece);
  const double begin = monotonic_seconds();
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) throw durable::file_error("open", path, errno);
  for (;;) {
    const ssize_t got = ::read(fd, piece.data(), piece.size());
    if (got < 0) throw durable::file_error("read", path, errno);
    if (got == 0) break;
  }
  ::close(fd);
  return monotonic_seconds() - begin;
}

// Over every byte that a checkpoint holds of the trainer's tensors.
std::uint32_t state_checksum(const train::Trainer& trainer) {
  trainer.synchronize();
  Stager stager(trainer.device());
  std::vector<std::byte> piece(kPiece);
  std::uint32_t crc = 0;
  for (const train::TrainedParameter& p : trainer.trained()) {
    for (const Tensor& t : {p.master, p.first, p.second}) {
      for (std::size_t done = 0; done < t.bytes(); done += kPiece) {
        const auto part = std::span(piece).first(std::min(kPiece, t.bytes() - done));
        stager.to_host(part, static_cast<const std::byte*>(t.raw()) + done, t.device());
        crc = durable::crc32c(part, crc);
      }
    }
  }
  return crc;
}

class Bench {
 public:
  Bench(const BenchCheckpointConfig& config, Logger& log) : config_(config), log_(log) {}
  void run();
  std::string table() const;
  std::string json() const;

 private:
  void prepare();
  void require_room(std::size_t bytes) const;
  void measure_ceilings();
  void measure_round(std::int64_t round);
  void measure_restore();
  double step();
  std::vector<hub::DirectoryImage> images();
  void add(Row row) {
    log_.info(fmt::format("{}: {} in {:.2f} s, {:.2f} GB/s", row.name, monitor::gib(row.bytes), row.seconds,
                          row.rate()));
    rows_.push_back(std::move(row));
    stop_if_asked();
  }

  const BenchCheckpointConfig& config_;
  Logger& log_;
  RunModel model_;
  DeviceChoice device_;
  std::unique_ptr<ThreadPool> pool_;
  ops::Context ctx_;
  std::unique_ptr<Arena> arena_;
  ModelMemory memory_;
  std::unique_ptr<train::Trainer> trainer_;
  std::unique_ptr<train::CheckpointWriter> writer_;
  std::vector<data::MicroBatch> batch_;
  std::size_t state_bytes_ = 0, all_bytes_ = 0, ring_bytes_ = 0;
  double gate_ = 0, plain_step_ = 0, write_ceiling_ = 0, read_ceiling_ = 0;
  std::uint32_t saved_ = 0;
  std::string newest_;
  std::vector<Row> rows_;
};

void Bench::prepare() {
  model_ = resolve_model(config_.model, 0, /*shapes_only=*/true);
  require_positions(model_, config_.seq_len, "seq_len");
  device_ = choose_device(config_.device);
  pool_ = std::make_unique<ThreadPool>(static_cast<int>(config_.threads));
  ctx_ = ops::make_context(device_.device, *pool_);
  ops::measure_products(ctx_);
  train::TrainerOptions options;
  options.loss.type = "cross_entropy";
  options.max_tokens = config_.seq_len;
  options.head_chunk = config_.model.head_chunk;
  options.recompute = model::Recompute::kFull;
  options.before_update = [this] {
    if (writer_ != nullptr) gate_ += writer_->await_read();
  };
  MemoryPlan plan;
  const ModelRegions model_regions = plan_model(ctx_, model_.config, plan, config_.seq_len);
  const auto trainer_regions = train::Trainer::plan(ctx_, model_.config, options, plan);
  plan.require_fits(memory_available_bytes(device_.device),
                    {"--seq-len: shorter rows", "a smaller --model.name"});
  log_.info("device: " + device_text(device_, ctx_));
  log_.info("model: " + model_.text);
  // Of the state as f32: the largest that it can be.
  const auto parameters = static_cast<std::size_t>(model_.config.parameters());
  require_room(parameters * (12 + (config_.weights ? 2 : 0)));
  const bool host = device_.device.kind == DeviceKind::kCpu;
  const std::size_t free = host_memory_available_bytes();
  const std::size_t room = (free - std::min(free, host ? plan.total_bytes() : 0)) / 2;

  arena_ = std::make_unique<Arena>(std::move(plan), device_.device);
  memory_ = make_model(model_.config, *arena_, model_regions);
  model::init_random(model_.config, memory_.full(), 0, pool_.get());
  trainer_ = std::make_unique<train::Trainer>(ctx_, model_.config, options, *arena_, trainer_regions,
                                              memory_.weights, memory_.packed, memory_.rope, memory_.masters);
  data::FakeRlOptions fake;
  fake.micro_batches = config_.rows;
  fake.seq_len = config_.seq_len;
  fake.vocab_size = model_.config.vocab_size;
  batch_ = data::fake_rl_batches(fake, 0);
  step();  // moments that are not zero

  for (const train::TrainedParameter& p : trainer_->trained())
    state_bytes_ += p.master.bytes() + p.first.bytes() + p.second.bytes();
  const auto order = images();
  for (const hub::DirectoryImage& image : order) all_bytes_ += image.tensor_bytes();
  const std::size_t needed = hub::ImageWriter::ring_for(order);
  const std::size_t ring = config_.staging.has_value() ? parse_bytes(*config_.staging, "staging") : room;
  writer_ = std::make_unique<train::CheckpointWriter>(durable::system_files(), device_.device,
                                                      std::min(ring, needed), hub::writer_threads(),
                                                      hub::reader_threads());
  ring_bytes_ = writer_->ring_bytes();
  log_.info(fmt::format("a checkpoint is {}, the ring {}, {} threads read and {} write",
                        monitor::gib(static_cast<double>(all_bytes_)),
                        monitor::gib(static_cast<double>(writer_->ring_bytes())), hub::reader_threads(),
                        hub::writer_threads()));
}

void Bench::require_room(std::size_t bytes) const {
  std::error_code error;
  const fs::space_info space = fs::space(fs::absolute(config_.directory).parent_path(), error);
  const std::size_t needed = bytes + bytes / 50 + (std::size_t{64} << 20);
  if (error || space.available >= needed) return;
  throw environment_error(
      "the disk has no room for the benchmark",
      fmt::format("{} are needed, {} are free", monitor::gib(static_cast<double>(needed)),
                  monitor::gib(static_cast<double>(space.available))),
      "name a directory on another disk with --directory, or leave out the exported weights "
      "with --no-weights");
}

double Bench::step() {
  trainer_->synchronize();
  const double begin = monotonic_seconds();
  trainer_->step(batch_);
  trainer_->synchronize();
  return monotonic_seconds() - begin;
}

std::vector<hub::DirectoryImage> Bench::images() {
  train::CheckpointContent content;
  content.progress.step = trainer_->steps_done();
  std::vector<hub::DirectoryImage> out;
  out.push_back(*train::checkpoint_image(config_.directory + "/checkpoints", *trainer_, content, "bench"));
  if (config_.weights) {
    out.push_back(model::model_image(
        trainer_->model(), trainer_->weights(),
        train::step_directory(config_.directory + "/weights", content.progress.step), DType::kBF16, ""));
  }
  return out;
}

void Bench::measure_ceilings() {
  std::vector<std::byte> buffer(std::size_t{256} << 20, std::byte{7});
  const double begin = monotonic_seconds();
  const std::uint32_t crc = durable::crc32c(buffer);
  add({"checksum, one thread", static_cast<double>(buffer.size()), monotonic_seconds() - begin,
       fmt::format("{:08x}", crc)});
  const std::string path = config_.directory + "/plain";
  const auto bytes = static_cast<double>(all_bytes_);
  add({"plain file, written and synced", bytes, plain_write(path, all_bytes_), "one thread, 8 MiB a call"});
  write_ceiling_ = rows_.back().rate();
  drop_from_cache(path);
  add({"plain file, read from disk", bytes, plain_read(path), "one thread, 8 MiB a call"});
  read_ceiling_ = rows_.back().rate();
  fs::remove(path);
  std::vector<double> steps(3);
  for (double& seconds : steps) seconds = step();
  std::sort(steps.begin(), steps.end());
  plain_step_ = steps[1];
  stop_if_asked();
}

void Bench::measure_round(std::int64_t round) {
  // One checkpoint at a time, so that the disk only needs room for one.
  fs::remove_all(config_.directory + "/checkpoints");
  fs::remove_all(config_.directory + "/weights");
  saved_ = state_checksum(*trainer_);
  newest_ = train::step_directory(config_.directory + "/checkpoints", trainer_->steps_done());
  gate_ = 0;
  const double begin = monotonic_seconds();
  durable::make_directories(durable::system_files(), config_.directory + "/checkpoints");
  durable::make_directories(durable::system_files(), config_.directory + "/weights");
  auto order = images();
  trainer_->synchronize();
  writer_->start(trainer_->steps_done(), std::move(order), "bench");
  const double started = monotonic_seconds() - begin;
  const double with = step();
  const double gate = gate_;
  const train::WriteOutcome outcome = writer_->wait();
  if (outcome.failure) std::rethrow_exception(outcome.failure);
  const auto bytes = static_cast<double>(outcome.bytes);
  add({fmt::format("round {}: state out of the device", round), bytes, outcome.read_seconds,
       "in the background"});
  add({fmt::format("round {}: checkpoint committed", round), bytes, outcome.seconds,
       fmt::format("{:.2f} of the plain file", bytes / 1e9 / outcome.seconds / write_ceiling_)});
  Row stall{fmt::format("round {}: training waited", round), 0, started + gate,
            fmt::format("step {:.2f} s, alone {:.2f} s; {:.3f} s to begin, {:.2f} s at the update", with,
                        plain_step_, started, gate)};
  log_.info(fmt::format("{} {:.2f} s ({})", stall.name, stall.seconds, stall.note));
  rows_.push_back(std::move(stall));
  stop_if_asked();
}

void Bench::measure_restore() {
  for (const bool cold : {true, false}) {
    if (cold) drop_from_cache(newest_);
    const double begin = monotonic_seconds();
    train::load_checkpoint(newest_, *trainer_);
    trainer_->synchronize();
    const double seconds = monotonic_seconds() - begin;
    const auto bytes = static_cast<double>(state_bytes_);
    add({cold ? "restored and verified, from disk" : "restored and verified, from the page cache", bytes,
         seconds,
         cold ? fmt::format("{:.2f} of the plain file", bytes / 1e9 / seconds / read_ceiling_) : ""});
    if (state_checksum(*trainer_) != saved_) {
      throw Error(ExitCode::kCheckFailed, "the restored state is not the one that was saved",
                  "its checksum differs", "this is an error of rlcpp or of the memory of this machine");
    }
    if (cold) step();  // something to restore again
  }
}

void Bench::run() {
  const Scratch scratch(config_.directory);
  prepare();
  stop_if_asked();
  measure_ceilings();
  for (std::int64_t round = 1; round <= config_.rounds; ++round) measure_round(round);
  measure_restore();
  writer_.reset();
}

std::string Bench::table() const {
  std::vector<std::vector<std::string>> cells = {{"", "GiB", "seconds", "GB/s", ""}};
  for (const Row& row : rows_) {
    const bool moves = row.bytes > 0;
    cells.push_back({row.name, moves ? fmt::format("{:.2f}", row.bytes / 0x1p30) : "-",
                     fmt::format("{:.3f}", row.seconds), moves ? fmt::format("{:.2f}", row.rate()) : "-",
                     row.note});
  }
  return monitor::table(cells);
}

std::string Bench::json() const {
  nlohmann::ordered_json out;
  out["model"] = config_.model.name;
  out["device"] = device_text(device_, ctx_);
  out["commit"] = commit_sha();
  out["state_bytes"] = state_bytes_;
  out["written_bytes"] = all_bytes_;
  out["ring_bytes"] = ring_bytes_;
  out["step_seconds"] = plain_step_;
  out["rows"] = nlohmann::ordered_json::array();
  for (const Row& row : rows_)
    out["rows"].push_back(
        {{"name", row.name}, {"bytes", row.bytes}, {"seconds", row.seconds}, {"note", row.note}});
  return out.dump(1) + "\n";
}

int run_bench_checkpoint(const Invocation& invocation) {
  Logger log(invocation.log);
  BenchCheckpointConfig config;
  config::load(config::describer(config), invocation.arguments);
  if (config.staging.has_value()) parse_bytes(*config.staging, "staging");
  install_signal_handlers({"finishing this measurement, then removing the files", false});
  Bench bench(config, log);
  bench.run();
  fmt::print("{}", invocation.json ? bench.json() : bench.table());
  return 0;
}

}  // namespace

Command bench_checkpoint_command() {
  Command c;
  c.name = "bench-checkpoint";
  c.summary = "Measure what a checkpoint costs: stall, writing, restoring, beside a plain file.";
  c.usage = "rlcpp bench-checkpoint --model.name NAME [--key value ...]";
  c.examples = {"rlcpp bench-checkpoint --model.name Qwen/Qwen3-0.6B",
                "rlcpp bench-checkpoint --model.name Qwen/Qwen3-4B --device cuda --directory /disk/bench"};
  describe_options<BenchCheckpointConfig>(c);
  c.run = run_bench_checkpoint;
  return c;
}

}  // namespace rlcpp::app
