// C1: what a disk may hold after a crash, replayed from the calls that a real save, publication, batch of
// rollouts or metrics file made: calls not yet synced are missing, in any order, or half there.
#include <chrono>
#include <filesystem>
#include <random>

#include "base/durable_fixture.h"
#include "base/durable_layers.h"
#include "faults.h"
#include "hub/image_writer.h"
#include "hub/joint_directories.h"
#include "monitor/metrics.h"
#include "tally.h"
#include "train/checkpoint.h"
#include "train/run.h"
#include "transport/world.h"

namespace rlcpp::test {
namespace {

namespace fs = std::filesystem;

using Tree = std::map<std::string, std::string>;

Tree tree_of(const std::string& path) {
  Tree out;
  for (const auto& entry : fs::recursive_directory_iterator(path)) {
    if (entry.is_regular_file())
      out[fs::relative(entry.path(), path).string()] = durable::read_file(entry.path().string());
  }
  return out;
}

// What was on the disk, durably, before the work that a crash cuts short, and that work.
struct Recorded {
  const FastDirectory& then;
  std::vector<DiskCall> before, work;
};

// `check`: what is wrong with the disk in the directory, "" if nothing; it is told whether the work was over.
void every_state(
    const Recorded& recorded, Tally& tally, std::size_t max_dropped, std::size_t random,
    const std::function<std::string(const std::string& now, bool over, std::size_t after)>& check) {
  const std::uint64_t seed = fresh_seed();
  std::mt19937_64 rng(seed);
  int passed = 0, failed = 0;
  const auto visit = [&](std::size_t after, const std::vector<DiskCall>& state) {
    if (failed >= 5) return;
    const FastDirectory now;
    std::vector<DiskCall> all = recorded.before;
    all.insert(all.end(), state.begin(), state.end());
    make_state(all, recorded.then.path(), now.path());
    const auto begin = std::chrono::steady_clock::now();
    std::string wrong;
    try {
      wrong = check(now.path(), after == recorded.work.size(), after);
    } catch (const std::exception& error) {
      wrong = error.what();
    }
    if (std::chrono::steady_clock::now() - begin > std::chrono::seconds(2)) wrong += " (took over 2 s)";
    ++(wrong.empty() ? passed : failed);
    EXPECT_EQ(wrong, "") << "crash after call " << after << " of " << recorded.work.size() << ", seed "
                         << seed;
  };
  for_crash_states(recorded.work, max_dropped, visit);
  for_random_crash_states(recorded.work, random, rng, visit);
  tally.add(passed, failed);
}

// The work of `second`, after `first` that was made durable.
Recorded record(const FastDirectory& then, RecordingFiles& files, const std::function<void()>& first,
                const std::function<void()>& second) {
  first();
  const std::size_t begun = files.calls().size();
  second();
  const auto& calls = files.calls();
  return {then,
          {calls.begin(), calls.begin() + static_cast<std::ptrdiff_t>(begun)},
          {calls.begin() + static_cast<std::ptrdiff_t>(begun), calls.end()}};
}

train::CheckpointContent content_of(std::int64_t step) {
  train::CheckpointContent content;
  content.progress.step = step;
  content.config_hash = "0badcafe";
  content.extra = fmt::format(R"({{"data": {{"row": {}}}}})", 17 * step);
  content.files.push_back({"configuration.json", "{}\n"});
  return content;
}

// Steps 1 and 2 of a trainer saved as the product saves them, the first removed when the second is there.
TEST(CrashStates, OfACheckpointAndThePurgeOfTheOneBefore) {
  Tally tally(
      "C1",
      "crash states of a checkpoint, `latest` and the purge: up to 2 calls missing or halved, and random",
      2000);
  Rng data(fresh_seed());
  train::TinyRun run(train::plain_options(), 7), other(train::plain_options(), 8);
  const FastDirectory then;
  const std::string root = then / "checkpoints";
  RecordingFiles files;
  std::map<std::int64_t, Tree> whole;
  const auto save = [&](std::int64_t step) {
    run.trainer->step(train::random_rows(data, 2));
    train::save_checkpoint(files, root, "run", *run.trainer, content_of(step));
    whole[step] = tree_of(train::step_directory(root, step));
  };
  std::size_t saved = 0;
  const Recorded recorded = record(
      then, files, [&] { save(1); },
      [&] {
        const std::size_t begun = files.calls().size();
        save(2);
        saved = files.calls().size() - begun;
        EXPECT_EQ(train::prune_checkpoints(files, root, 1, std::nullopt, 2), std::vector<std::int64_t>{1});
      });
  EXPECT_GE(recorded.work.size(), 30U);
  std::size_t looked = 0;
  every_state(recorded, tally, 2, long_tier() ? 2000 : 50,
              [&](const std::string& now, bool, std::size_t after) -> std::string {
                const std::string there = now + "/checkpoints";
                std::vector<std::string> skipped;
                const std::int64_t step = train::resolve_resume_step(there, -1, &skipped);
                // save() had returned before that: the step is promised.
                if (after >= saved && step != 2) return "step 2 was promised and is lost";
                if (tree_of(train::step_directory(there, step)) != whole.at(step))
                  return "a mixture was taken for whole";
                // The hint never names a step that is not there.
                std::error_code ignored;
                if (fs::exists(there + "/latest", ignored)) {
                  const std::string latest = durable::read_file(there + "/latest");
                  if (latest != "step_1\n" && latest != "step_2\n") return "`latest` says " + latest;
                  if (!fs::exists(there + "/" + latest.substr(0, 6) + "/manifest.json", ignored))
                    return "`latest` names nothing";
                }
                // The next start cleans up, prunes, and what it found is still there; then the next save goes
                // through.
                durable::remove_leftovers(durable::system_files(), there);
                train::prune_checkpoints(durable::system_files(), there, 1, std::nullopt, step);
                if (durable::newest_step(there, nullptr) != step)
                  return "the next start removed the newest step";
                if (looked++ % 16 == 0) {
                  const train::Restored restored =
                      train::load_checkpoint(train::step_directory(there, step), *other.trainer);
                  if (restored.progress.step != step) return "another step was loaded";
                  other.trainer->step(train::random_rows(data, 1));
                  train::save_checkpoint(durable::system_files(), there, "next", *other.trainer,
                                         content_of(step + 1));
                  if (durable::newest_step(there, nullptr) != step + 1)
                    return "the next save did not go through";
                }
                return {};
              });
}

// A directory that two processes fill together.
TEST(CrashStates, OfADirectoryThatTwoProcessesWrite) {
  Tally tally("C1", "the same of a directory that two processes write together", 400);
  const FastDirectory then;
  RecordingFiles files;
  std::vector<float> values(2000);
  Rng rng(fresh_seed());
  for (float& v : values) v = rng.normal();
  const std::int64_t half = 900;
  const auto images = [&](std::int64_t step, bool first) {
    std::vector<hub::DirectoryImage> out(1);
    out[0].path = then / fmt::format("step_{}", step);
    out[0].facts = fmt::format(R"({{"step":{}}})", step);
    out[0].add("state.json", fmt::format("{}\n", step));
    hub::ImagePart part;
    part.stored = {"t", DType::kF32, {2000}};
    const Tensor all(values.data(), DType::kF32, {2000});
    part.pieces.push_back(first ? hub::TensorPiece{0, all.rows(0, half)}
                                : hub::TensorPiece{half, all.rows(half, 2000 - half)});
    out[0].add("folder/t.safetensors",
               hub::TensorImage({part}, {}, first ? hub::Share::kHeaderAndPieces : hub::Share::kPieces));
    return out;
  };
  const auto save = [&](std::int64_t step) {
    for (float& v : values) v += 1;
    const auto one = images(step, true), two = images(step, false);
    hub::JointDirectories a(files, one, "run", true), b(files, two, "run", false);
    hub::ImageWriter writer(files, Device{}, hub::ImageWriter::kBlock, 1);
    hub::WriteProgress progress;
    writer.write(one, a, progress);
    writer.write(two, b, progress);
    a.commit(one, {a.report(), b.report()}, progress);
  };
  std::map<std::int64_t, Tree> whole;
  const Recorded recorded = record(
      then, files,
      [&] {
        save(1);
        whole[1] = tree_of(then / "step_1");
      },
      [&] {
        save(2);
        whole[2] = tree_of(then / "step_2");
      });
  every_state(recorded, tally, 2, long_tier() ? 500 : 20,
              [&](const std::string& now, bool over, std::size_t) -> std::string {
                const auto step = durable::newest_step(now, nullptr);
                if (!step.has_value()) return "nothing is left";
                if (over && step != 2) return "step 2 was promised and is lost";
                return tree_of(fmt::format("{}/step_{}", now, *step)) == whole.at(*step)
                           ? ""
                           : "a mixture was taken for whole";
              });
}

// Weights for the orchestrator: only what has its marker is taken, and that is what was published.
TEST(CrashStates, OfAPublication) {
  Tally tally("C1", "the same of a publication of weights", 400);
  const FastDirectory then;
  const std::string root = then / "broadcasts";
  RecordingFiles files;
  transport::Policy policy;
  transport::FileWeightSender sender(files, root, "run", DType::kF32);
  std::map<std::int64_t, std::vector<float>> published;
  const auto publish = [&](std::int64_t step) {
    policy.fill(static_cast<std::uint64_t>(step) + 5);
    published[step] = transport::Policy::values(policy.own);
    sender.publish(step, 0, [&](const std::string& directory) {
      hub::ImageWriter writer(files, Device{}, hub::ImageWriter::kBlock, 1);
      hub::WriteProgress progress;
      writer.write({model::model_image(policy.config, policy.own, directory, DType::kF32, "")}, "run",
                   progress);
    });
  };
  std::size_t sent = 0;
  const Recorded recorded = record(
      then, files, [&] { publish(1); },
      [&] {
        const std::size_t begun = files.calls().size();
        publish(2);
        sent = files.calls().size() - begun;
        sender.prune_before(2, [](std::int64_t) { return false; });
      });
  every_state(recorded, tally, 2, long_tier() ? 500 : 20,
              [&](const std::string& now, bool, std::size_t after) -> std::string {
                transport::FileWeightReceiver receiver(now + "/broadcasts");
                const auto newest = receiver.newest(0, 100);
                if (after >= sent && newest != 2) return "step 2 was promised and is lost";
                if (!newest.has_value()) return "nothing is left";
                const auto took = receiver.load(*newest, policy.config, policy.spare, policy.live, nullptr);
                if (took.step != *newest) return "another step was loaded";
                return transport::Policy::values(policy.live) == published.at(*newest)
                           ? ""
                           : "a mixture was taken for whole";
              });
}

// A publication is made again where a killed one stands: the old marker must not cover the new weights.
TEST(CrashStates, OfAPublicationThatReplacesOneOfItsStep) {
  Tally tally("C1", "the same of a publication that replaces one of the same step", 400);
  const FastDirectory then;
  const std::string root = then / "broadcasts";
  RecordingFiles files;
  transport::Policy policy;
  transport::FileWeightSender sender(files, root, "run", DType::kF32);
  std::vector<std::vector<float>> published;
  const auto publish = [&] {
    policy.fill(published.size() + 5);
    published.push_back(transport::Policy::values(policy.own));
    sender.publish(3, 0, [&](const std::string& directory) {
      hub::ImageWriter writer(files, Device{}, hub::ImageWriter::kBlock, 1);
      hub::WriteProgress progress;
      writer.write({model::model_image(policy.config, policy.own, directory, DType::kF32, "")}, "run",
                   progress);
    });
  };
  const Recorded recorded = record(then, files, publish, publish);
  every_state(recorded, tally, 2, long_tier() ? 500 : 20,
              [&](const std::string& now, bool over, std::size_t) -> std::string {
                transport::FileWeightReceiver receiver(now + "/broadcasts");
                const auto newest = receiver.newest(0, 100);
                if (over && newest != 3) return "step 3 was promised and is lost";
                if (!newest.has_value()) return {};  // a resumed trainer writes it anew
                receiver.load(3, policy.config, policy.spare, policy.live, nullptr);
                const auto got = transport::Policy::values(policy.live);
                if (over && got != published[1]) return "the older weights are back";
                return got == published[0] || got == published[1] ? "" : "a mixture was taken for whole";
              });
}

TEST(CrashStates, OfABatchOfRollouts) {
  Tally tally("C1", "the same of a batch of rollouts with the state of the orchestrator", 300);
  const FastDirectory then;
  RecordingFiles files;
  Rng rng(fresh_seed());
  transport::FileRolloutSender sender(files, then / "rollouts", "run");
  std::map<std::int64_t, std::vector<transport::RolloutBatch>> sent;
  const auto send = [&](std::int64_t step) {
    sent[step] = {transport::random_batch(rng, step, 0, 2), transport::random_batch(rng, step, 1, 2)};
    sender.send(sent[step], fmt::format(R"({{"step":{}}})", step));
  };
  std::size_t promised = 0;
  const Recorded recorded = record(
      then, files, [&] { send(1); },
      [&] {
        const std::size_t begun = files.calls().size();
        send(2);
        promised = files.calls().size() - begun;
        sender.prune_before(2, [](std::int64_t) { return false; });
      });
  every_state(recorded, tally, 2, long_tier() ? 500 : 20,
              [&](const std::string& now, bool, std::size_t after) -> std::string {
                const transport::FileRolloutSender there(durable::system_files(), now + "/rollouts", "next");
                const auto state = there.newest_state(std::nullopt, nullptr);
                if (!state.has_value()) return "nothing is left";
                if (after >= promised && state->step != 2) return "step 2 was promised and is lost";
                if (state->text != fmt::format(R"({{"step":{}}})", state->step))
                  return "a mixture was taken for whole";
                for (std::int64_t rank = 0; rank < 2; ++rank) {
                  transport::FileRolloutReceiver receiver(now + "/rollouts", "run", rank);
                  const auto batch = receiver.receive(state->step, transport::short_wait());
                  if (!batch.has_value()) return "a rank of the batch is missing";
                  transport::expect_equal(*batch, sent.at(state->step)[static_cast<std::size_t>(rank)]);
                }
                return {};
              });
}

// A line a step; after a crash the resumed run has each step's line once, whatever was torn.
TEST(CrashStates, OfTheMetricsOfARun) {
  Tally tally("C1", "the same of metrics.jsonl, flushed with a checkpoint and continued", 100);
  const FastDirectory then;
  RecordingFiles files;
  const auto line = [](monitor::MetricsWriter& writer, std::int64_t step) {
    monitor::Metrics metrics;
    metrics.set("loss/mean", 1.0 / static_cast<double>(step));
    writer.write(step, metrics);
  };
  std::size_t flushed = 0;
  const Recorded recorded = record(
      then, files, [&] { monitor::MetricsWriter(files, then.path(), "trainer", 1); },
      [&] {
        const std::size_t begun = files.calls().size();
        monitor::MetricsWriter writer(files, then.path(), "trainer", 1);
        for (std::int64_t step = 1; step <= 4; ++step) {
          line(writer, step);
          if (step != 2) continue;
          writer.flush();
          flushed = files.calls().size() - begun;
        }
      });
  every_state(recorded, tally, 2, long_tier() ? 500 : 20,
              [&](const std::string& now, bool, std::size_t after) -> std::string {
                // The checkpoint of step 2 was written behind the flush, so a run goes on from there; else
                // from the start.
                const std::int64_t first = after >= flushed ? 3 : 1;
                monitor::MetricsWriter writer(durable::system_files(), now, "trainer", first);
                for (std::int64_t step = first; step <= 4; ++step) line(writer, step);
                std::istringstream text(durable::read_file(now + "/metrics.jsonl"));
                std::int64_t expected = 0;
                for (std::string row; std::getline(text, row);) {
                  const auto json = nlohmann::json::parse(row, nullptr, false);
                  if (!json.is_object() || json.value("step", 0) != ++expected) return "line " + row;
                }
                return expected == 4 ? "" : fmt::format("{} lines", expected);
              });
}

}  // namespace
}  // namespace rlcpp::test
