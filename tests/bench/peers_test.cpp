#include "bench/peers.h"

#include <fmt/format.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "bench/page.h"
#include "support.h"

namespace rlcpp::bench {
namespace {

using Json = nlohmann::ordered_json;

Json entry() {
  return {{"peer", "PyTorch 2.11"},
          {"model", "Qwen/Qwen3-0.6B"},
          {"type", "rl"},
          {"lora_rank", nullptr},
          {"num_gpus", 2},
          {"device_name", "NVIDIA H100 80GB HBM3"},
          {"seq_len", 8192},
          {"ac", "Recompute"},
          {"tokens_per_second", 57000.0},
          {"step_seconds", 0.575},
          {"peak_memory_gib", 21.5},
          {"numerics", "bf16, f32 master weights"},
          {"same_run", true}};
}

Json measured() {
  Json e = entry();
  e["source"] = {{"command", "torchrun torch_peer.py"}, {"machine", "2 x H100"}, {"date", "2026-12-01"}};
  return e;
}

Json published() {
  Json e = entry();
  e["peer"] = "prime-rl page";
  e["same_run"] = false;
  e["source"] = {{"published", "somebody's page"}, {"date", "2026-01-12"}};
  return e;
}

Peer peer_of(const Json& e) {
  return peers_from_json(e.dump(), "a.json").at(0);
}

Result row(const std::string& ac, double tps) {
  Result r;
  r.config.model_name = "Qwen/Qwen3-0.6B";
  r.config.type = "rl";
  r.config.num_gpus = 2;
  r.config.device_name = "NVIDIA H100 80GB HBM3";
  r.config.seq_len = 8192;
  r.config.ac = ac;
  r.config.numeric_mode = "fast";
  r.config.success = true;
  r.config.timestamp = "2026-12-01T03:00:00Z";
  r.metrics.throughput.mean = tps;
  r.metrics.peak_memory_gib = 8.5;
  return r;
}

std::string page_of(const std::vector<Result>& rows, const std::vector<Peer>& peers) {
  return render_page(rows, Baselines({}), {}, {"", "", "", ""}, peers);
}

// What the error of a broken entry says.
std::string refusal(const Json& e) {
  try {
    peers_from_json(e.dump(), "peers/a.json");
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kBadInput);
    return error.what();
  }
  return "accepted";
}

TEST(Peers, ReadsMeasuredAndPublishedFigures) {
  const Peer mine = peer_of(measured());
  EXPECT_EQ(mine.name, "PyTorch 2.11");
  EXPECT_EQ(mine.config.type_text(), "RL Full");
  EXPECT_EQ(mine.config.hardware_text(), "2xH100 HBM3");
  EXPECT_EQ(mine.config.seq_len, 8192);
  EXPECT_EQ(mine.config.ac, "Recompute");
  EXPECT_EQ(mine.tokens_per_second, 57000);
  EXPECT_EQ(mine.step_seconds, 0.575);
  EXPECT_EQ(mine.peak_memory_gib, 21.5);
  EXPECT_EQ(mine.machine, "2 x H100");
  EXPECT_TRUE(mine.same_run);
  Json e = published();
  e["lora_rank"] = 16;
  e.erase("step_seconds");
  e.erase("peak_memory_gib");
  e["details"] = {{"anything", {1, 2}}};
  const Peer theirs = peer_of(e);
  EXPECT_EQ(theirs.config.type_text(), "RL LoRA(r=16)");
  EXPECT_EQ(theirs.published, "somebody's page");
  EXPECT_EQ(theirs.peak_memory_gib, 0);
  EXPECT_FALSE(theirs.same_run);
  EXPECT_EQ(peers_from_json(Json{measured(), published()}.dump(), "a.json").size(), 2U);
}

TEST(Peers, RefusesWhatItCannotReadNamingFileAndKey) {
  for (const char* key : {"peer", "model", "type", "num_gpus", "device_name", "seq_len", "ac",
                          "tokens_per_second", "numerics", "source", "same_run"}) {
    Json e = measured();
    e.erase(key);
    const std::string text = refusal(e);
    EXPECT_NE(text.find("peers/a.json"), std::string::npos) << text;
    EXPECT_NE(text.find(fmt::format("`{}`", key)), std::string::npos) << text;
  }
  const std::vector<std::pair<std::string, Json>> wrong = {
      {"type", "dpo"},        {"num_gpus", 0},     {"num_gpus", 1.5},
      {"lora_rank", "16"},    {"ac", "Full"},      {"tokens_per_second", -1},
      {"step_seconds", "1s"}, {"same_run", "yes"}, {"details", "a text"},
      {"source", "a URL"},    {"typo", 1}};
  for (const auto& [key, value] : wrong) {
    Json e = measured();
    e[key] = value;
    EXPECT_NE(refusal(e).find(fmt::format("`{}`", key)), std::string::npos) << refusal(e);
  }
  for (const char* key : {"date", "command", "machine"}) {
    Json e = measured();
    e["source"].erase(key);
    EXPECT_NE(refusal(e).find(fmt::format("`source.{}`", key)), std::string::npos) << refusal(e);
  }
  Json e = measured();
  e["source"]["date"] = "12 January";
  EXPECT_NE(refusal(e).find("`source.date`"), std::string::npos);
  e = published();
  e["same_run"] = true;  // nobody measures a published page beside us
  EXPECT_NE(refusal(e).find("`same_run`"), std::string::npos);
  e = measured();
  e["error"] = "out of memory";  // and yet a speed
  EXPECT_NE(refusal(e).find("`tokens_per_second`"), std::string::npos);
  // Of a list, which entry.
  e = measured();
  e.erase("ac");
  EXPECT_NE(refusal(Json{measured(), e}).find("entry 2"), std::string::npos);
  EXPECT_NE(refusal(Json(3)).find("object"), std::string::npos);
  EXPECT_THROW(peers_from_json("{", "a.json"), Error);
}

TEST(Peers, ReadsADirectoryByFileName) {
  const test::TemporaryDirectory dir;
  EXPECT_TRUE(read_peers(dir / "absent").empty());
  EXPECT_TRUE(read_peers(dir / "").empty());
  std::ofstream(dir / "b.json") << measured().dump();
  std::ofstream(dir / "a.json") << Json{published(), published()}.dump();
  std::ofstream(dir / "README.md") << "not a peer";
  const auto peers = read_peers(dir / "");
  ASSERT_EQ(peers.size(), 3U);
  EXPECT_EQ(peers[0].name, "prime-rl page");
  EXPECT_EQ(peers[2].name, "PyTorch 2.11");
  EXPECT_THROW(read_peers(dir / "README.md"), Error);
  std::ofstream(dir / "c.json") << "[{}]";
  EXPECT_THROW(read_peers(dir / ""), Error);
}

TEST(Peers, ComparesTheSameWorkOnTheSameHardwareAlone) {
  const Result ours = row("Recompute", 100000);
  EXPECT_EQ(comparable_peers(ours.config, {peer_of(measured())}).size(), 1U);
  const std::vector<std::pair<std::string, Json>> others = {
      {"model", "Qwen/Qwen3-4B"}, {"type", "sft"},
      {"lora_rank", 16},          {"num_gpus", 1},
      {"seq_len", 16384},         {"device_name", "NVIDIA RTX A6000"}};
  for (const auto& [key, value] : others) {
    Json e = measured();
    e[key] = value;
    EXPECT_TRUE(comparable_peers(ours.config, {peer_of(e)}).empty()) << key;
  }
}

TEST(Peers, PrefersTheSameAcOfEachPeer) {
  Json plain = measured();
  plain["ac"] = "None";
  Json selective = published();
  selective["ac"] = "Selective";
  const std::vector<Peer> peers = {peer_of(measured()), peer_of(plain), peer_of(published()),
                                   peer_of(selective)};
  const auto acs = [&](const char* ac) {
    std::string all;
    for (const Peer* p : comparable_peers(row(ac, 1).config, peers))
      all += p->name + ":" + p->config.ac + " ";
    return all;
  };
  EXPECT_EQ(acs("Recompute"), "PyTorch 2.11:Recompute prime-rl page:Recompute ");
  EXPECT_EQ(acs("None"), "PyTorch 2.11:None prime-rl page:Recompute prime-rl page:Selective ");
}

TEST(Peers, PageShowsRatioAndSource) {
  Json failed = published();
  failed["peer"] = "another page";
  failed.erase("tokens_per_second");
  failed["error"] = "out of memory";
  const std::vector<Peer> peers = {peer_of(measured()), peer_of(published()), peer_of(failed)};
  std::string page = page_of({row("Recompute", 114000)}, peers);
  EXPECT_NE(page.find("### Against peers"), std::string::npos);
  EXPECT_NE(
      page.find("| RL Full | 2xH100 HBM3 | 8192 | Recompute | fast | 114.00k | PyTorch 2.11 | Recompute | "
                "bf16, f32 master weights | 57.00k | 2.00 | measured 2026-12-01, same run |"),
      std::string::npos)
      << page;
  EXPECT_NE(page.find("| 2.00 | published 2026-01-12, somebody's page |"), std::string::npos);
  EXPECT_NE(page.find("| failed: out of memory | – |"), std::string::npos);
  // Measured anew on another day: the figures are no longer of one run.
  Result later = row("Recompute", 114000);
  later.config.timestamp = "2026-12-02T03:00:00Z";
  page = page_of({later}, peers);
  EXPECT_EQ(page.find("same run |"), std::string::npos);
  EXPECT_NE(page.find("measured 2026-12-01, another run: 2 x H100 |"), std::string::npos);
  // No peer, no table; and none of a row that failed.
  EXPECT_EQ(page_of({row("Recompute", 1)}, {}).find("peers"), std::string::npos);
  later.config.success = false;
  EXPECT_EQ(page_of({later}, peers).find("### Against peers"), std::string::npos);
}

TEST(Peers, RowsWithAMemoryLimitAreMemoryChecksOnly) {
  Result limited = row("Recompute", 100000);
  limited.config.memory_limit = "44GiB";
  Json a6000 = published();
  a6000["device_name"] = "NVIDIA RTX A6000";
  a6000["tokens_per_second"] = 4020;
  a6000["peak_memory_gib"] = 25.0;
  const std::vector<Peer> peers = {peer_of(measured()), peer_of(a6000)};
  EXPECT_TRUE(comparable_peers(limited.config, peers).empty());
  std::string page = page_of({limited}, peers);
  EXPECT_NE(
      page.find("‡ planned within the memory that is named, as for a smaller card, whose speed this is not"),
      std::string::npos);
  EXPECT_NE(page.find("| RL Full ‡ | 2xH100 HBM3 limited to 44GiB |"), std::string::npos);
  EXPECT_EQ(page.find("### Against peers"), std::string::npos);
  EXPECT_NE(
      page.find("| RL Full ‡ | 2xH100 HBM3 limited to 44GiB | 8192 | Recompute | 8.5 GiB | prime-rl page | "
                "2xA6000 | Recompute | 25.0 GiB | published 2026-01-12, somebody's page |"),
      std::string::npos)
      << page;
  EXPECT_EQ(page.find("4.02k"), std::string::npos);    // no speed of the other card
  EXPECT_EQ(page.find("PyTorch"), std::string::npos);  // and no peer of the card that the row ran on
  page = page_of({row("Recompute", 100000)}, {peer_of(a6000)});
  EXPECT_EQ(page.find("‡"), std::string::npos);
  EXPECT_EQ(page.find("A6000"), std::string::npos);
}

// The files that the page is made of.
TEST(Peers, CommittedFilesAreRead) {
  const auto peers = read_peers(std::string(RLCPP_TEST_DATA) + "/../../benchmarks/peers");
  std::int64_t on_page = 0, failed = 0;
  for (const Peer& p : peers) {
    if (p.date != "2026-01-12") continue;
    ++on_page;
    failed += p.error.empty() ? 0 : 1;
    EXPECT_NE(p.published.find("PrimeIntellect-ai/prime-rl"), std::string::npos);
  }
  EXPECT_EQ(on_page, 12);
  EXPECT_EQ(failed, 2);
  EXPECT_EQ(comparable_peers(row("Recompute", 1).config, peers).at(0)->tokens_per_second, 16120);
}

}  // namespace
}  // namespace rlcpp::bench
