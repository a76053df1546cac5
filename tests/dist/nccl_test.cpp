// Ranks on GPUs: skipped with fewer than two.
#include <array>
#include <cmath>

#include "processes.h"
#include "ranks.h"

namespace rlcpp::dist {
namespace {

int gpus() {
  static const int count = [] {
    std::string why;
    return static_cast<int>(cuda::gpus(&why).size());
  }();
  return count;
}

class NcclRanks : public testing::Test {
 protected:
  void SetUp() override {
    const char* expected = std::getenv("RLCPP_TEST_GPU");
    if (gpus() >= 2) return;
    if (gpus() == 0 && expected != nullptr && std::string(expected) == "1") FAIL() << "no GPU was found";
    GTEST_SKIP() << "two GPUs are needed, found " << gpus();
  }
  static WorldOptions world(Deadlines limits = long_deadlines()) {
    WorldOptions options;
    options.device = DeviceKind::kCuda;
    options.launch.devices = {0, 1};
    options.deadlines = limits;
    return options;
  }
  static std::vector<std::string> command(const std::string& what, const std::string& limit) {
    return {what, "--carrier", "auto", "--device", "cuda", "--limit", limit, "--seed", "5", "--faulty", "1"};
  }
};

// `values` on a GPU, in memory of its own.
class OnGpu {
 public:
  OnGpu(Values& values, Device device)
      : device_(device), bytes_(values.tensor().bytes()), memory_(cuda::allocate(bytes_ + 256, device)) {
    cuda::fill(memory_, device, 0xFF, bytes_ + 256);
    tensor_ = values.tensor(device);
    tensor_ = Tensor(static_cast<std::byte*>(memory_), values.type(), {values.count()}, device);
    if (bytes_ != 0) copy(tensor_, values.tensor());
  }
  ~OnGpu() { cuda::release(memory_, device_); }
  OnGpu(const OnGpu&) = delete;
  OnGpu& operator=(const OnGpu&) = delete;
  const Tensor& tensor() const { return tensor_; }
  void fetch(Values& values) const {
    if (bytes_ != 0) copy(values.tensor(), tensor_);
  }

 private:
  Device device_;
  std::size_t bytes_;
  void* memory_;
  Tensor tensor_;
};

constexpr std::array kReduced = {DType::kF32, DType::kBF16, DType::kF64, DType::kI64};
constexpr std::array<std::int64_t, 6> kSizes = {0, 1, 3, 1023, 65537, 3000001};

std::string everything(Communicator& c, std::uint64_t seed) {
  std::string bits;
  const auto me = static_cast<std::size_t>(c.rank());
  for (const DType type : kReduced) {
    for (const std::int64_t n : kSizes) {
      for (const Reduction reduction : {Reduction::kSum, Reduction::kMax}) {
        std::vector<Values> in, wide;
        for (int rank = 0; rank < c.size(); ++rank) {
          in.emplace_back(type, n);
          in.back().randomise(seed + static_cast<std::uint64_t>(rank));
          wide.emplace_back(type, n * c.size());
          wide.back().randomise(seed + 50 + static_cast<std::uint64_t>(rank));
        }
        const auto check = [&](Values& got, std::vector<Values>& from, std::int64_t offset,
                               const char* what) {
          for (std::int64_t i = 0; i < got.count(); ++i) {
            std::vector<double> column;
            for (Values& values : from) column.push_back(values.get(offset + i));
            const Reference reference = reduce_reference(type, reduction, column);
            ASSERT_NEAR(got.get(i), reference.value, reference.tolerance)
                << what << " " << name_of(type) << " " << n << " element " << i;
          }
        };
        Values result = in[me];
        const OnGpu sum(result, c.device());
        c.all_reduce(sum.tensor(), reduction, "all_reduce").wait();
        sum.fetch(result);
        check(result, in, 0, "all_reduce");
        bits += result.bits();

        Values whole = wide[me], part(type, n);
        const OnGpu input(whole, c.device()), output(part, c.device());
        c.reduce_scatter(output.tensor(), input.tensor(), reduction, "reduce_scatter").wait();
        output.fetch(part);
        check(part, wide, c.rank() * n, "reduce_scatter");
        bits += part.bits();

        Values gathered(type, n * c.size());
        const OnGpu mine(in[me], c.device()), all(gathered, c.device());
        c.all_gather(all.tensor(), mine.tensor(), "all_gather").wait();
        all.fetch(gathered);
        std::string wanted;
        for (Values& values : in) wanted += values.bits();
        EXPECT_EQ(gathered.bits(), wanted) << "all_gather " << n;

        const OnGpu sent(in[me], c.device());
        c.broadcast(sent.tensor(), 1, "broadcast").wait();
        Values received = in[me];
        sent.fetch(received);
        EXPECT_EQ(received.bits(), in[1].bits()) << "broadcast " << n;
        c.barrier("end");
      }
    }
  }
  return bits;
}

TEST_F(NcclRanks, EveryCollectiveAgreesWithFloat64AndRepeats) {
  const std::uint64_t seed = test::fresh_seed();
  std::array<std::vector<std::string>, 2> bits;
  for (auto& run : bits) {
    World both(world());
    run.resize(2);
    const auto errors = run_ranks(both, [&](Communicator& c) {
      EXPECT_TRUE(c.description().starts_with("nccl 2.")) << c.description();
      run[static_cast<std::size_t>(c.rank())] = everything(c, seed);
    });
    EXPECT_EQ(errors, std::vector<std::string>(2));
  }
  EXPECT_EQ(bits[0], bits[1]);
}

// Two ranks make one addition, which has one result: threads on the CPU and GPUs agree to the bit.
TEST_F(NcclRanks, TwoRanksGiveTheBitsOfTheCpu) {
  const std::uint64_t seed = test::fresh_seed();
  std::array<std::string, 2> bits;
  for (const bool gpu : {false, true}) {
    World both(gpu ? world() : threads_world(2));
    const auto errors = run_ranks(both, [&](Communicator& c) {
      for (const std::int64_t n : kSizes) {
        Values values(DType::kF32, n);
        values.randomise(seed + static_cast<std::uint64_t>(c.rank()));
        if (gpu) {
          const OnGpu there(values, c.device());
          c.all_reduce(there.tensor(), Reduction::kSum, "sum").wait();
          there.fetch(values);
        } else {
          c.all_reduce(values.tensor(), Reduction::kSum, "sum");
        }
        if (c.rank() == 0) bits[gpu ? 1 : 0] += values.bits();
      }
    });
    EXPECT_EQ(errors, std::vector<std::string>(2));
  }
  EXPECT_TRUE(bits[0] == bits[1]);
}

TEST_F(NcclRanks, GroupsAndManyInFlight) {
  World both(world());
  const auto errors = run_ranks(both, [](Communicator& c) {
    Values values(DType::kF32, 1000);
    for (std::int64_t i = 0; i < 1000; ++i) values.set(i, 1);
    const OnGpu there(values, c.device());
    Ticket last;
    // More launches than there are events, and groups among them. Twenty sums double the even parts.
    for (int i = 0; i < 3000; ++i) {
      if (i % 100 == 0) {
        c.group_begin();
        for (int k = 0; k < 20; ++k) {
          last = c.all_reduce(there.tensor().rows(k * 50, 50),
                              k % 2 == 0 && i < 2000 ? Reduction::kSum : Reduction::kMax, "small");
        }
        c.group_end();
      } else {
        last = c.all_reduce(there.tensor(), Reduction::kMax, "large");
      }
    }
    last.wait();
    EXPECT_EQ(last.sequence(), 3000U - 30U + 30U * 20U);
    there.fetch(values);
    for (std::int64_t i = 0; i < 1000; ++i) {
      ASSERT_EQ(values.get(i), i / 50 % 2 == 0 ? 0x1p20 : 1.0) << i;
    }
  });
  EXPECT_EQ(errors, std::vector<std::string>(2));
}

// A rank that never enters: the other's kernel spins on the device, and is ended by an abort.
TEST_F(NcclRanks, AMissingRankIsNamedAndTheDeviceIsFree) {
  for (int round = 0; round < 2; ++round) {
    World both(world(short_deadlines()));
    const auto begun = std::chrono::steady_clock::now();
    const auto errors = run_ranks(both, [&](Communicator& c) {
      Values values(DType::kF32, 100000);
      values.randomise(1);
      const OnGpu there(values, c.device());
      c.all_reduce(there.tensor(), Reduction::kSum, "first").wait();
      if (c.rank() == 1) {
        while (!both.failed()) std::this_thread::sleep_for(std::chrono::milliseconds(5));
      }
      c.all_reduce(there.tensor(), Reduction::kSum, "second").wait();
    });
    EXPECT_LT(std::chrono::steady_clock::now() - begun, std::chrono::seconds(20));
    for (const std::string& error : errors) {
      EXPECT_NE(error.find("all_reduce #2 [second"), std::string::npos) << error;
      EXPECT_NE(error.find("rank 1 ("), std::string::npos) << error;
    }
  }
  // The second round has shown that the GPUs work on after an abort.
}

TEST_F(NcclRanks, AnotherSizeIsNamed) {
  World both(world());
  const auto errors = run_ranks(both, [&](Communicator& c) {
    Values values(DType::kF32, 1000);
    values.randomise(1);
    const OnGpu there(values, c.device());
    c.barrier("start");
    c.all_reduce(c.rank() == 0 ? there.tensor() : there.tensor().rows(0, 999), Reduction::kSum, "g").wait();
    c.barrier("end");
  });
  for (const std::string& error : errors) {
    EXPECT_NE(error.find("different collectives as #2"), std::string::npos) << error;
  }
}

TEST_F(NcclRanks, ProcessesAndThreadsGiveTheSameBits) {
  const test::TemporaryDirectory folder;
  const auto hashes = [](const std::string& text) {
    std::vector<std::string> lines;
    for (std::size_t at = 0; (at = text.find("rank ", at)) != std::string::npos; ++at) {
      lines.push_back(text.substr(at, 23));
    }
    std::sort(lines.begin(), lines.end());
    return lines;
  };
  auto processes = start_ranks(2, folder, command("collectives", "60000"), "file:" + (folder / "meeting"));
  std::string text;
  for (auto& process : processes) {
    ASSERT_EQ(process->wait(std::chrono::seconds(120)), 0) << process->text();
    text += process->text();
  }
  std::vector<std::string> words = {rank_program()};
  for (const std::string& word : command("collectives", "60000")) words.push_back(word);
  words.insert(words.end(), {"--devices", "2"});
  Process threads(words, {}, folder / "threads");
  ASSERT_EQ(threads.wait(std::chrono::seconds(120)), 0) << threads.text();
  EXPECT_EQ(hashes(text).size(), 2U) << text;
  EXPECT_EQ(hashes(text), hashes(threads.text()));
}

TEST_F(NcclRanks, AKilledProcessIsNamedAndTheOtherLeaves) {
  const test::TemporaryDirectory folder;
  auto ranks = start_ranks(2, folder, command("kill", "60000"), "file:" + (folder / "meeting"));
  EXPECT_EQ(ranks[1]->wait(std::chrono::seconds(120)), 128 + SIGKILL);
  EXPECT_EQ(ranks[0]->wait(std::chrono::seconds(30)), 1);
  EXPECT_NE(ranks[0]->text().find("rank 1 ("), std::string::npos) << ranks[0]->text();
  EXPECT_NE(ranks[0]->text().find("its connection closed"), std::string::npos) << ranks[0]->text();
}

TEST_F(NcclRanks, AnAbortThatHangsDoesNotKeepTheProcess) {
  const test::TemporaryDirectory folder;
  std::vector<std::string> words = command("kill", "60000");
  words.insert(words.end(), {"--fail", "dist.abort=hang"});
  auto ranks = start_ranks(2, folder, words, "file:" + (folder / "meeting"));
  EXPECT_EQ(ranks[1]->wait(std::chrono::seconds(120)), 128 + SIGKILL);
  EXPECT_EQ(ranks[0]->wait(std::chrono::seconds(30)), 1);
}

TEST_F(NcclRanks, ALostGpuContextIsNamedByBoth) {
  const test::TemporaryDirectory folder;
  auto ranks = start_ranks(2, folder, command("crash-gpu", "60000"), "file:" + (folder / "meeting"));
  for (auto& rank : ranks) {
    EXPECT_EQ(rank->wait(std::chrono::seconds(60)), 1);
    EXPECT_NE(rank->text().find("rank 1 ("), std::string::npos) << rank->text();
    EXPECT_NE(rank->text().find("all_reduce #3 [gradients layer 3"), std::string::npos) << rank->text();
  }
  EXPECT_NE(ranks[0]->text().find("its GPU reports"), std::string::npos) << ranks[0]->text();
}

TEST_F(NcclRanks, ARankProcessThatNeverEntersIsNamed) {
  const test::TemporaryDirectory folder;
  auto ranks = start_ranks(2, folder, command("sleep", "3000"), "file:" + (folder / "meeting"));
  for (auto& rank : ranks) {
    EXPECT_EQ(rank->wait(std::chrono::seconds(60)), 1);
    EXPECT_NE(rank->text().find("all_reduce #3 [gradients layer 3"), std::string::npos) << rank->text();
  }
}

}  // namespace
}  // namespace rlcpp::dist
