#include "bench/peers.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "base/durable.h"
#include "base/error.h"
#include "base/json_problem.h"
#include "base/json_text.h"

namespace rlcpp::bench {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kHelp = "docs/benchmarking.md, \"Peers\", lists the keys of a peer file";

// The keys of one object, each asked for at most once; what is left at the end is unknown.
class Entry {
 public:
  Entry(const Json& object, std::string where, std::string prefix = "")
      : object_(object), where_(std::move(where)), prefix_(std::move(prefix)) {
    if (!object_.is_object())
      throw bad_input(where_ + ": " +
                          (prefix_.empty() ? "a peer" : "`" + prefix_.substr(0, prefix_.size() - 1) + "`") +
                          " must be an object",
                      "it is " + shown(object_), kHelp);
  }

  // Absent and null are the same.
  bool has(const std::string& key) {
    known_.insert(key);
    const auto found = object_.find(key);
    return found != object_.end() && !found->is_null();
  }
  std::string text(const std::string& key) {
    const Json& value = at(key, "a text that is not empty");
    if (!value.is_string() || value.get<std::string>().empty()) wrong(key, "a text that is not empty");
    return value.get<std::string>();
  }
  std::string one_of(const std::string& key, const std::vector<std::string>& allowed) {
    const std::string must = fmt::format("one of {}", fmt::join(allowed, ", "));
    const Json& value = at(key, must);
    if (!value.is_string() ||
        std::find(allowed.begin(), allowed.end(), value.get<std::string>()) == allowed.end())
      wrong(key, must);
    return value.get<std::string>();
  }
  std::int64_t count(const std::string& key) {
    const Json& value = at(key, "an integer of at least 1");
    if (!value.is_number_integer() || value.get<std::int64_t>() < 1) wrong(key, "an integer of at least 1");
    return value.get<std::int64_t>();
  }
  double positive(const std::string& key) {
    const Json& value = at(key, "a number above 0");
    if (!value.is_number() || !(value.get<double>() > 0)) wrong(key, "a number above 0");
    return value.get<double>();
  }
  bool boolean(const std::string& key) {
    const Json& value = at(key, "true or false");
    if (!value.is_boolean()) wrong(key, "true or false");
    return value.get<bool>();
  }
  std::string date(const std::string& key) {
    std::string text = this->text(key);
    const std::string shape = "dddd-dd-dd";
    bool fits = text.size() == shape.size();
    for (std::size_t i = 0; fits && i < shape.size(); ++i)
      fits = shape[i] == '-' ? text[i] == '-' : std::isdigit(static_cast<unsigned char>(text[i])) != 0;
    if (!fits) wrong(key, "a date like 2026-01-12 (UTC)");
    return text;
  }
  const Json& object(const std::string& key) { return at(key, "an object"); }

  [[noreturn]] void wrong(const std::string& key, const std::string& must) const {
    const auto found = object_.find(key);
    throw bad_input(fmt::format("{}: `{}{}` must be {}", where_, prefix_, key, must),
                    found == object_.end() ? "it is not there" : "it is " + shown(*found), kHelp);
  }
  void done() const {
    for (const auto& [key, value] : object_.items()) {
      if (!known_.contains(key))
        throw bad_input(fmt::format("{}: `{}{}` is not a key of a peer", where_, prefix_, key),
                        "it is " + shown(value), kHelp);
    }
  }

 private:
  static std::string shown(const Json& value) { return value.dump().substr(0, 80); }
  const Json& at(const std::string& key, const std::string& must) {
    if (!has(key)) wrong(key, must);
    return object_.at(key);
  }

  const Json& object_;
  std::string where_, prefix_;
  std::set<std::string> known_;
};

Peer peer_from(const Json& object, const std::string& where) {
  Entry entry(object, where);
  Peer peer;
  peer.name = entry.text("peer");
  RunConfig& c = peer.config;
  c.model_name = entry.text("model");
  c.type = entry.one_of("type", {"sft", "rl"});
  if (entry.has("lora_rank")) c.lora_rank = entry.count("lora_rank");
  c.num_gpus = entry.count("num_gpus");
  c.device_name = entry.text("device_name");
  c.seq_len = entry.count("seq_len");
  c.ac = entry.one_of("ac", {"None", "Selective", "Attention", "Recompute", "Offload", "OffloadAttention"});
  if (entry.has("error")) {
    peer.error = entry.text("error");
    if (entry.has("tokens_per_second")) entry.wrong("tokens_per_second", "absent beside `error`");
  } else {
    peer.tokens_per_second = entry.positive("tokens_per_second");
  }
  if (entry.has("step_seconds")) peer.step_seconds = entry.positive("step_seconds");
  if (entry.has("peak_memory_gib")) peer.peak_memory_gib = entry.positive("peak_memory_gib");
  peer.numerics = entry.text("numerics");
  peer.same_run = entry.boolean("same_run");
  if (entry.has("details") && !entry.object("details").is_object()) entry.wrong("details", "an object");

  Entry source(entry.object("source"), where, "source.");
  peer.date = source.date("date");
  if (source.has("published")) {
    peer.published = source.text("published");
    if (peer.same_run) entry.wrong("same_run", "false for a published figure (`source.published`)");
  } else {
    peer.command = source.text("command");
    peer.machine = source.text("machine");
  }
  source.done();
  entry.done();
  return peer;
}

bool same_work(const RunConfig& a, const RunConfig& b) {
  return a.model_name == b.model_name && a.type == b.type && a.lora_rank == b.lora_rank &&
         a.num_gpus == b.num_gpus && a.seq_len == b.seq_len;
}

}  // namespace

std::vector<Peer> peers_from_json(const std::string& text, const std::string& where) {
  Json whole;
  try {
    whole = parse_json_or_throw<Json>(text);
  } catch (const Json::exception& problem) {
    throw bad_input(where + " is not JSON", json_problem(problem, text), kHelp);
  }
  std::vector<Peer> peers;
  if (!whole.is_array()) {
    peers.push_back(peer_from(whole, where));
    return peers;
  }
  for (std::size_t i = 0; i < whole.size(); ++i)
    peers.push_back(peer_from(whole[i], fmt::format("{}, entry {}", where, i + 1)));
  return peers;
}

std::vector<Peer> read_peers(const std::string& path) {
  if (!std::filesystem::exists(path)) return {};
  if (!std::filesystem::is_directory(path))
    throw bad_input(path + " is not a directory", "--peers names it", "give the directory of peer files");
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(path))
    if (entry.path().extension() == ".json") names.push_back(entry.path().string());
  std::sort(names.begin(), names.end());
  std::vector<Peer> peers;
  for (const std::string& name : names) {
    for (Peer& peer : peers_from_json(durable::read_file(name), name)) peers.push_back(std::move(peer));
  }
  return peers;
}

std::vector<const Peer*> comparable_peers(const RunConfig& row, const std::vector<Peer>& peers) {
  std::vector<const Peer*> fitting;
  // Nor does a peer write its weights to a disk after each step.
  if (!row.memory_limit.empty() || !row.publication.empty()) return fitting;
  std::set<std::string> with_same_ac;
  for (const Peer& peer : peers) {
    if (!same_work(row, peer.config) || row.hardware_text() != peer.config.hardware_text()) continue;
    fitting.push_back(&peer);
    if (peer.config.ac == row.ac) with_same_ac.insert(peer.name);
  }
  std::erase_if(fitting, [&](const Peer* peer) {
    return peer->config.ac != row.ac && with_same_ac.contains(peer->name);
  });
  return fitting;
}

std::vector<const Peer*> memory_peers(const RunConfig& row, const std::vector<Peer>& peers) {
  std::vector<const Peer*> fitting;
  if (row.memory_limit.empty()) return fitting;
  for (const Peer& peer : peers) {
    if (same_work(row, peer.config) && row.device_name != peer.config.device_name) fitting.push_back(&peer);
  }
  return fitting;
}

bool measured_together(const RunConfig& row, const Peer& peer) {
  return peer.same_run && row.timestamp.substr(0, 10) == peer.date;
}

}  // namespace rlcpp::bench
