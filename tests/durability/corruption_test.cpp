// S1: files whose bytes are not what was written: headers, truncations, data. Each is refused with its name,
// found by the manifest or the pinned checksum, or harmless; and no length in them is believed before it is
// checked, so that memory stays within the file's size and 64 MiB.
#include <malloc.h>

#include <atomic>
#include <fstream>
#include <new>
#include <random>

#include "app/sft_run.h"
#include "base/durable_fixture.h"
#include "faults.h"
#include "hub/download.h"
#include "hub/hub_server.h"
#include "hub/repository.h"
#include "model/checkpoint.h"
#include "model/weights.h"
#include "tally.h"
#include "tensor/arena.h"
#include "tensor/copy.h"
#include "tokenizer/tokenizer.h"

namespace {

// What this program has allocated, and the most since somebody last looked.
std::atomic<std::size_t> held{0}, most{0};

void* counted(void* memory) {
  if (memory == nullptr) return nullptr;
  const std::size_t now = held += malloc_usable_size(memory);
  std::size_t before = most;
  while (now > before && !most.compare_exchange_weak(before, now)) {
  }
  return memory;
}

void returned(void* memory) {
  if (memory == nullptr) return;
  held -= malloc_usable_size(memory);
  std::free(memory);
}

}  // namespace

// Every form that the deletes below take back: AddressSanitizer has forms of its own for what is left out.
void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  return counted(std::malloc(size));
}
void* operator new[](std::size_t size, const std::nothrow_t&) noexcept {
  return counted(std::malloc(size));
}
void* operator new(std::size_t size) {
  void* const memory = counted(std::malloc(size));
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
void* operator new[](std::size_t size) {
  return operator new(size);
}
void operator delete(void* memory) noexcept {
  returned(memory);
}
void operator delete[](void* memory) noexcept {
  returned(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
  returned(memory);
}
void operator delete[](void* memory, std::size_t) noexcept {
  returned(memory);
}

namespace rlcpp::test {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kAllowance = std::size_t{64} << 20;

// A file that is changed and put back.
class Damaged {
 public:
  explicit Damaged(std::string path) : path_(std::move(path)), sound_(durable::read_file(path_)) {}
  ~Damaged() { put(sound_); }
  Damaged(const Damaged&) = delete;
  Damaged& operator=(const Damaged&) = delete;
  void put(const std::string& text) const {
    std::ofstream(path_, std::ios::binary | std::ios::trunc) << text;
  }
  void flip(std::size_t at, unsigned char mask) const {
    std::string text = sound_;
    text[at] = static_cast<char>(static_cast<unsigned char>(text[at]) ^ mask);
    put(text);
  }
  const std::string& sound() const { return sound_; }
  const std::string& path() const { return path_; }

 private:
  std::string path_, sound_;
};

enum class Answer { kRefused, kTaken, kWrong };

// Calls `read`, which may throw bad_input that names the file; nothing else, and not with more memory.
Answer answer(const std::string& path, std::size_t bytes, const std::function<void()>& read, std::string* why,
              const std::vector<std::string>& parts = {}) {
  const std::size_t before = held;
  most = before;
  try {
    read();
  } catch (const Error& error) {
    const std::string text = error.render();
    // The file, or the directory where something of it is missing.
    const std::string folder = fs::path(path).parent_path();
    if (error.code() != ExitCode::kBadInput || text.find(folder) == std::string::npos) {
      *why = "refused with " + text;
      return Answer::kWrong;
    }
    for (const std::string& part : parts) {
      if (text.find(part) == std::string::npos) {
        *why = "no \"" + part + "\" in " + text;
        return Answer::kWrong;
      }
    }
    if (most - before > bytes + kAllowance) {
      *why = fmt::format("{} bytes for a file of {}", most - before, bytes);
      return Answer::kWrong;
    }
    return Answer::kRefused;
  } catch (const std::exception& error) {
    *why = std::string("threw ") + error.what();
    return Answer::kWrong;
  }
  if (most - before > bytes + kAllowance) {
    *why = fmt::format("{} bytes for a file of {}", most - before, bytes);
    return Answer::kWrong;
  }
  return Answer::kTaken;
}

class Corruption : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    world_ = new SftWorld;
    EXPECT_EQ(world_->run(world_->sft("run", {"--max-steps", "2"})).code, 0);
    // As another program would have left it: without our manifest.
    const fs::path foreign = fast() / "foreign";
    fs::create_directories(foreign);
    for (const auto& entry : fs::directory_iterator(*world_ / "run/weights/step_2")) {
      if (entry.path().filename() != durable::kManifestName)
        fs::copy(entry.path(), foreign / entry.path().filename());
    }
    fs::copy(*world_ / "run/weights/step_2", fast() / "own", fs::copy_options::recursive);
    fs::copy(*world_ / "run/checkpoints/step_2", fast() / "checkpoint", fs::copy_options::recursive);
  }
  static void TearDownTestSuite() {
    delete world_;
    delete fast_;
    world_ = nullptr;
    fast_ = nullptr;
  }
  static fs::path fast() {
    if (fast_ == nullptr) fast_ = new FastDirectory;
    return fast_->path();
  }

  struct Weights {
    Weights() : config(model::load_config(fast() / "foreign")) {
      MemoryPlan plan;
      const auto regions = model::plan_weights(config, plan, MemoryUse::kWeights, "w.", DType::kF32);
      arena = std::make_unique<Arena>(plan, Device{});
      set = model::make_weight_set(config, *arena, regions);
    }
    void load(const std::string& dir) { model::load_weights(config, dir, set); }
    std::vector<float> values() const {
      std::vector<float> all;
      for (const Tensor& t : set.flat) {
        const auto part = to_floats(t);
        all.insert(all.end(), part.begin(), part.end());
      }
      return all;
    }
    model::ModelConfig config;
    std::unique_ptr<Arena> arena;
    model::WeightSet set;
  };

  inline static SftWorld* world_ = nullptr;
  inline static FastDirectory* fast_ = nullptr;
  std::uint64_t seed_ = fresh_seed();
  std::mt19937_64 rng_{seed_};

  static std::size_t stride(std::size_t all, std::size_t few) {
    return long_tier() ? 1 : std::max<std::size_t>(1, all / few);
  }
  // One case; `may_be_taken`: what a change that is no fault must leave as it was.
  void look(Tally& tally, const std::string& what, const Damaged& file, const std::function<void()>& read,
            bool must_refuse, const std::function<bool()>& unchanged = {},
            const std::vector<std::string>& parts = {}) {
    std::string why;
    Answer got = answer(file.path(), file.sound().size(), read, &why, parts);
    if (got == Answer::kTaken && must_refuse) {
      got = Answer::kWrong;
      why = "was taken";
    }
    if (got == Answer::kTaken && unchanged && !unchanged()) {
      got = Answer::kWrong;
      why = "was taken, and the values are others";
    }
    tally.add(got == Answer::kWrong ? 0 : 1, got == Answer::kWrong ? 1 : 0);
    EXPECT_NE(got, Answer::kWrong) << file.path() << ", " << what << ", seed " << seed_ << ": " << why;
  }
};

TEST_F(Corruption, OfTheHeaderAndTheLengthOfForeignWeights) {
  Tally tally("S1",
              "safetensors of others: every header byte (three ways), every length of the first 4 KiB and "
              "the last 64 B",
              5000);
  Weights weights;
  const std::string dir = fast() / "foreign";
  weights.load(dir);
  const std::vector<float> expected = weights.values();
  const auto read = [&] { weights.load(dir); };
  const auto same = [&] { return weights.values() == expected; };
  const Damaged file(dir + "/model.safetensors");
  std::uint64_t header = 0;
  std::memcpy(&header, file.sound().data(), 8);
  for (std::size_t at = 0; at < 8 + header && !tally.hopeless(); at += stride(header, 100)) {
    for (const unsigned mask : {1U << rng_() % 8, 0xFFU, static_cast<unsigned>(1 + rng_() % 255)}) {
      file.flip(at, static_cast<unsigned char>(mask));
      look(tally, fmt::format("byte {} with {:02x}", at, mask), file, read, false, same);
    }
  }
  const std::size_t size = file.sound().size();
  for (std::size_t length = 0; length < size && !tally.hopeless(); ++length) {
    if (length >= 4096 && length < size - 64) continue;
    if (length < 4096 && length % stride(4096, 100) != 0) continue;
    file.put(file.sound().substr(0, length));
    look(tally, fmt::format("cut to {}", length), file, read, true);
  }
}

TEST_F(Corruption, OfConfigurationAndTokenizer) {
  Tally tally("S1", "config.json and tokenizer.json: flips and lengths of the first 4 KiB, the last 64 B",
              5000);
  for (const char* name : {"config.json", "tokenizer.json"}) {
    const std::string dir = fast() / "foreign";
    const Damaged file(dir + "/" + name);
    const bool tokens = name == std::string("tokenizer.json");
    const auto read = [&] {
      if (tokens) {
        tokenizer::Tokenizer::load(dir).encode("say 7 abc\xff");
      } else {
        model::load_config(dir);
      }
    };
    const std::size_t size = file.sound().size(), most_bytes = std::min<std::size_t>(size, 4096);
    for (std::size_t at = 0; at < most_bytes && !tally.hopeless(); at += stride(most_bytes, 50)) {
      file.flip(at, static_cast<unsigned char>(1U << rng_() % 8));
      look(tally, fmt::format("byte {}", at), file, read, false);
    }
    for (std::size_t length = 0; length + 1 < size && !tally.hopeless(); ++length) {
      if (length >= most_bytes && length + 64 < size) continue;
      if (length < most_bytes && length % stride(most_bytes, 50) != 0) continue;
      file.put(file.sound().substr(0, length));
      // Behind the last brace there may be nothing but white space.
      const bool whole = file.sound().find_first_not_of(" \n", length) == std::string::npos;
      look(tally, fmt::format("cut to {}", length), file, read, !whole);
    }
  }
}

TEST_F(Corruption, OfManifests) {
  Tally tally("S1", "manifests of a checkpoint and of exported weights: every byte, every length", 2000);
  for (const char* name : {"checkpoint", "own"}) {
    const std::string dir = fast() / name;
    const Damaged file(dir + "/" + durable::kManifestName);
    const auto read = [&] { durable::verify_directory(dir); };
    for (std::size_t at = 0; at < file.sound().size() && !tally.hopeless();
         at += stride(file.sound().size(), 50)) {
      file.flip(at, static_cast<unsigned char>(1U << rng_() % 8));
      look(tally, fmt::format("byte {}", at), file, read, true);
    }
    for (std::size_t length = 0; length < file.sound().size() && !tally.hopeless();
         length += stride(file.sound().size(), 50)) {
      file.put(file.sound().substr(0, length));
      look(tally, fmt::format("cut to {}", length), file, read, true);
    }
  }
}

TEST_F(Corruption, OfDataThatAManifestCovers) {
  Tally tally("S1", "random bits of data of checkpoints and exported weights, found by file and offset",
              10000);
  std::vector<std::pair<std::string, std::string>> files;
  for (const char* name : {"checkpoint", "own"}) {
    for (const auto& entry : fs::recursive_directory_iterator(fast() / name)) {
      if (entry.is_regular_file() && entry.file_size() > 0 &&
          entry.path().filename() != durable::kManifestName)
        files.emplace_back(fast() / name, entry.path());
    }
  }
  ASSERT_GE(files.size(), 8U);
  Weights weights;
  for (const auto& [dir, path] : files) {
    const Damaged file(path);
    for (std::size_t i = 0; i < (long_tier() ? 10000 / files.size() + 1 : 5) && !tally.hopeless(); ++i) {
      const std::size_t at = rng_() % file.sound().size();
      if (i == 0) {
        file.put(file.sound() + "x");
        look(
            tally, "a byte longer", file, [&, &place = dir] { durable::verify_directory(place); }, true);
      }
      file.flip(at, static_cast<unsigned char>(1U << rng_() % 8));
      // Some by what a run calls.
      const bool own = dir == fast() / "own" && i % 8 == 0;
      look(tally, fmt::format("byte {}", at), file,
           [&, &place = dir] {
             own ? weights.load(place) : static_cast<void>(durable::verify_directory(place));
           },
           true, {}, {"offset 0"});
    }
  }
}

TEST_F(Corruption, OfDownloads) {
  Tally tally(
      "S1", "files of a hub with one wrong byte: refused by the pinned SHA-256 or git id, nothing kept", 150);
  HubServer server;
  const std::string weights = durable::read_file((fast() / "foreign/model.safetensors").string());
  server.file("org/tiny", "model.safetensors", weights, true);
  server.file("org/tiny", "config.json", "{\"a\": 1}");
  for (int i = 0; i < (long_tier() ? 160 : 4); ++i) {
    const bool lfs = i % 4 != 0;
    const std::string name = lfs ? "model.safetensors" : "config.json";
    const std::string content = lfs ? weights : "{\"a\": 1}";
    tally.run(fmt::format("{} of seed {}", i, seed_), [&] {
      const std::size_t at = rng_() % content.size();
      server.fault(lfs ? "/cdn/" : "config.json", {{Fault::kCorrupt, static_cast<std::int64_t>(at)}});
      const FastDirectory dir;
      const hub::HubCache cache(dir / "hub", *hub::parse_repository("org/tiny", hub::RepositoryKind::kModel));
      cache.prepare();
      hub::DownloadTask task;
      task.url = fmt::format("{}/org/tiny/resolve/{}/{}", server.url(), HubServer::kCommit, name);
      task.what = "org/tiny: " + name;
      task.file = {name, content.size(), HubServer::etag(content, lfs)};
      task.retry.attempts = 2;
      task.retry.first_pause = std::chrono::milliseconds(1);
      try {
        hub::download_blob(cache, task);
        ADD_FAILURE() << "byte " << at << " was taken";
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), ExitCode::kEnvironment) << error.render();
        expect_has(error.render(), {"org/tiny: " + name, "is not what the hub has"});
      }
      EXPECT_FALSE(fs::exists(cache.blob(task.file.etag)));
    });
  }
}

// The same as a user meets them: exit 2, and the file in the message.
TEST_F(Corruption, OfWhatARunIsGiven) {
  Tally tally("S1", "the same through `rlcpp sft`: exit 2, the file and the offset in the message", 60);
  const auto refused = [&](const Damaged& file, const Words& words, const std::vector<std::string>& parts) {
    const ProcessOutcome o = world_->run(words);
    EXPECT_EQ(o.code, 2) << o.err;
    expect_has(o.err, {"error: ", file.path()});
    expect_has(o.err, parts);
  };
  for (int i = 0; i < (long_tier() ? 20 : 1); ++i) {
    tally.run(fmt::format("checkpoint {} of seed {}", i, seed_), [&] {
      const Damaged file(*world_ / "run/checkpoints/step_2/trainer/exp_avg.safetensors");
      file.flip(rng_() % file.sound().size(), static_cast<unsigned char>(1U << rng_() % 8));
      refused(file, world_->sft("run", {"--max-steps", "4", "--ckpt.resume-step", "2"}), {"at offset 0"});
    });
    tally.run(fmt::format("foreign weights {} of seed {}", i, seed_), [&] {
      const Damaged file((fast() / "foreign/model.safetensors").string());
      file.put(file.sound().substr(0, rng_() % file.sound().size()));
      refused(file, world_->sft("refused", {"--model.name", fast() / "foreign"}), {});
    });
    tally.run(fmt::format("own weights {} of seed {}", i, seed_), [&] {
      const Damaged file((fast() / "own/model.safetensors").string());
      file.flip(rng_() % file.sound().size(), static_cast<unsigned char>(1U << rng_() % 8));
      refused(file, world_->sft("refused", {"--model.name", fast() / "own"}), {"at offset 0"});
    });
  }
  EXPECT_FALSE(fs::exists(*world_ / "refused/checkpoints"));
}

}  // namespace
}  // namespace rlcpp::test
