// The page's section "Publication", from what `rlcpp bench publication` writes.
#include "bench/publication_page.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "base/durable.h"
#include "base/error.h"
#include "support.h"

namespace rlcpp::bench {
namespace {

std::string file_of(const std::string& model, double seconds, int gpus = 2) {
  return fmt::format(
      R"({{"kind": "publication", "config": {{"engine": "rlcpp", "model_name": "{}", "num_gpus": {},
      "device_name": "NVIDIA H100", "repeats": 20, "commit_sha": "abc12345", "timestamp": "2026-11-27T10:39:39Z"}},
      "bytes": 1192099840.0, "planned_bytes": 2384199680, "peak_bytes": 2400000000, "seconds": {},
      "split": {{"checksums": 0.0026, "transfer": 0.021, "verify": 0.0021, "replace": 0.0012}},
      "bytes_per_second": 5e10}})",
      model, gpus, seconds);
}

TEST(PublicationPage, AFileIsARow) {
  const std::string page =
      render_publications({publication_from_json(file_of("Qwen/Qwen3-0.6B", 0.0271), "one.json"),
                           publication_from_json(file_of("Qwen/Qwen3-4B", 0.0501, 4), "two.json")});
  EXPECT_NE(page.find("## Publication"), std::string::npos);
  EXPECT_NE(page.find("| Qwen/Qwen3-0.6B | 2 | NVIDIA H100 | 1.19 GB | 27.1 ms | 2.6 / 21.0 / 2.1 / 1.2 ms | "
                      "44.0 GB/s | 20 | abc12345 | 2026-11-27 |"),
            std::string::npos)
      << page;
  EXPECT_NE(page.find("| Qwen/Qwen3-4B | 4 | NVIDIA H100 | 1.19 GB | 50.1 ms |"), std::string::npos) << page;
  EXPECT_NE(page.find("| 23.8 GB/s |"), std::string::npos) << page;
  EXPECT_TRUE(render_publications({}).empty());
}

TEST(PublicationPage, FilesThatAreNoneAreRefused) {
  const auto refused = [](const std::string& text) {
    try {
      publication_from_json(text, "some.json");
    } catch (const Error& e) {
      EXPECT_NE(std::string(e.what()).find("some.json"), std::string::npos);
      return e.code() == ExitCode::kBadInput;
    }
    return false;
  };
  for (const std::string& text : {std::string("["), std::string("{}"), file_of("m", 0), file_of("m", 0.1, 1)})
    EXPECT_TRUE(refused(text)) << text;
  for (const auto& [from, to] :
       {std::pair<std::string, std::string>("\"kind\": \"publication\"", "\"kind\": \"rl_steps\""),
        {"\"repeats\": 20", "\"repeats\": 0"},
        {"\"repeats\": 20", "\"repeats\": 2.5"},
        {"1192099840.0", "0"},
        {"\"verify\": 0.0021", "\"verify\": -1"},
        {"\"verify\": 0.0021, ", ""}}) {
    std::string text = file_of("m", 0.1);
    text.replace(text.find(from), from.size(), to);
    EXPECT_TRUE(refused(text)) << text;
  }
}

TEST(PublicationPage, ADirectoryIsReadInOrderAndMayBeAbsent) {
  const test::TemporaryDirectory dir;
  EXPECT_TRUE(read_publications(dir / "absent").empty());
  durable::write_file(durable::system_files(), dir / "b.json", file_of("second", 0.02));
  durable::write_file(durable::system_files(), dir / "a.json", file_of("first", 0.01));
  durable::write_file(durable::system_files(), dir / "notes.txt", "nothing");
  const std::vector<PublicationFile> files = read_publications(dir.path());
  ASSERT_EQ(files.size(), 2U);
  EXPECT_EQ(files[0].model_name, "first");
  EXPECT_EQ(files[1].model_name, "second");
}

}  // namespace
}  // namespace rlcpp::bench
