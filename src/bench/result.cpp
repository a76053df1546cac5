#include "bench/result.h"

#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "base/durable.h"
#include "base/error.h"
#include "base/json_problem.h"
#include "base/json_text.h"
#include "bench/json_files.h"

namespace rlcpp::bench {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kMend =
    "remove it and run the row again, or restore it: it needs the objects \"config\" and \"metrics\" of "
    "run_single_benchmark.py, or of rlcpp --bench";

Json to_value(const Summary& s) {
  return {{"mean", s.mean}, {"std", s.std}, {"min", s.min}, {"max", s.max}};
}

// `value` of the library, which does not say whose type is wrong.
template <typename T>
T value_or(const Json& object, const char* key, T otherwise) {
  try {
    return object.value(key, otherwise);
  } catch (const Json::exception& problem) {
    throw bad_input(fmt::format("\"{}\" cannot be read", key), json_problem(problem));
  }
}

Summary summary_from(const Json& object) {
  return {value_or(object, "mean", 0.0), value_or(object, "std", 0.0), value_or(object, "min", 0.0),
          value_or(object, "max", 0.0)};
}

void erase_word(std::string& text, const std::string& word) {
  for (auto at = text.find(word); at != std::string::npos; at = text.find(word)) text.erase(at, word.size());
}

std::string squeezed(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == ' ' && (out.empty() || out.back() == ' ')) continue;
    out += c;
  }
  while (!out.empty() && out.back() == ' ') out.pop_back();
  return out;
}

std::string text_or(const Json& object, const char* key, const std::string& otherwise) {
  const auto found = object.find(key);
  return found == object.end() || found->is_null() ? otherwise : value_or(object, key, std::string());
}

// A whole number; a script may have written it as 4.0.
template <typename T>
T integer_or(const Json& object, const char* key, T otherwise) {
  const auto found = object.find(key);
  if (found == object.end() || found->is_null()) return otherwise;
  if (!found->is_number_float()) return value_or(object, key, otherwise);
  const double number = found->get<double>();
  if (number != std::floor(number) || std::abs(number) > 1e9) {
    throw bad_input(fmt::format("\"{}\" is {}", key, number), "a whole number is wanted here");
  }
  return static_cast<T>(number);
}

RunConfig config_from(const Json& object) {
  RunConfig c;
  c.model_name = value_or(object, "model_name", c.model_name);
  c.type = value_or(object, "type", c.type);
  c.num_gpus = integer_or(object, "num_gpus", c.num_gpus);
  c.device_name = text_or(object, "device_name", "");
  if (object.contains("lora_rank") && !object["lora_rank"].is_null())
    c.lora_rank = integer_or(object, "lora_rank", std::int64_t{0});
  c.seq_len = integer_or(object, "seq_len", c.seq_len);
  c.ac = text_or(object, "ac", "None");
  c.attention = text_or(object, "attention", "flash_attention_2");
  c.cp = integer_or(object, "cp", c.cp);
  c.ep = integer_or(object, "ep", c.ep);
  c.numeric_mode = text_or(object, "numeric_mode", "fast");
  c.publication = text_or(object, "publication", "");
  c.memory_limit = text_or(object, "memory_limit", "");
  c.scaling = text_or(object, "scaling", "");
  c.micro_batches = integer_or(object, "micro_batches", c.micro_batches);
  c.timeout = integer_or(object, "timeout", c.timeout);
  c.commit_sha = text_or(object, "commit_sha", "unknown");
  c.timestamp = text_or(object, "timestamp", "");
  c.success = value_or(object, "success", true);
  c.error_reason = text_or(object, "error_reason", "");
  c.time_taken = object.contains("time_taken") && object["time_taken"].is_number()
                     ? object["time_taken"].get<double>()
                     : 0;
  return c;
}

Extension extension_from(const Json& object) {
  Extension e;
  e.true_mfu = summary_from(value_or(object, "true_mfu", Json::object()));
  e.planned_memory_gib = value_or(object, "planned_memory_gib", 0.0);
  e.first_step_seconds = value_or(object, "first_step_seconds", 0.0);
  e.first_step_begins = value_or(object, "first_step_begins", 0.0);
  e.peak_tflops = value_or(object, "peak_tflops", 0.0);
  e.peak_source = value_or(object, "peak_source", std::string());
  e.step_seconds = value_or(object, "step_seconds", e.step_seconds);
  e.losses = value_or(object, "losses", e.losses);
  e.grad_norms = value_or(object, "grad_norms", e.grad_norms);
  e.versions = value_or(object, "versions", e.versions);
  e.clocks = value_or(object, "clocks", e.clocks);
  e.repeats = integer_or(object, "repeats", e.repeats);
  e.command = value_or(object, "command", e.command);
  return e;
}

}  // namespace

std::string RunConfig::type_text() const {
  std::string text = type == "sft" ? "SFT" : "RL";
  text += lora_rank ? fmt::format(" LoRA(r={})", *lora_rank) : " Full";
  if (!scaling.empty()) text += ", " + scaling + " scaling";
  return publication.empty() ? text : text + ", weights through " + publication;
}

std::string RunConfig::hardware_text() const {
  std::string name = device_name;
  for (const char* word : {"NVIDIA", "RTX", "80GB", "40GB", "(R)", "(TM)", "GeForce"}) erase_word(name, word);
  std::string text = fmt::format("{}x{}", num_gpus, squeezed(name));
  if (!memory_limit.empty()) text += " limited to " + memory_limit;
  return text;
}

std::string RunConfig::identity() const {
  return fmt::format("{}|{}|{}|{}|{}|{}|{}|{}|{}", model_name, hardware_text(), type,
                     lora_rank ? std::to_string(*lora_rank) : "none", seq_len, ac, attention, ep, cp) +
         (numeric_mode == "fast" ? "" : "|" + numeric_mode) + (publication.empty() ? "" : "|" + publication) +
         (scaling.empty() ? "" : "|" + scaling);
}

std::string RunConfig::file_name() const {
  const auto plain = [](const std::string& text) {
    std::string out;
    for (const char c : text) {
      if (c == '/') {
        out += "--";
      } else {
        out +=
            (std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '.' || c == '_' || c == '-') ? c : '-';
      }
    }
    return out;
  };
  return fmt::format("benchmark-{}-{}-{}{}{}-{}-{}gpu-{}-{}-{}-cp{}-ep{}-{}.json", plain(hardware_text()),
                     plain(model_name), plain(type), publication.empty() ? "" : "-" + plain(publication),
                     scaling.empty() ? "" : "-" + plain(scaling),
                     lora_rank ? std::to_string(*lora_rank) : "full", num_gpus, plain(ac), plain(attention),
                     seq_len, cp, ep, plain(numeric_mode));
}

std::string to_json(const Result& result) {
  const RunConfig& c = result.config;
  Json config = {{"type", c.type},
                 {"num_gpus", c.num_gpus},
                 {"model_name", c.model_name},
                 {"lora_rank", c.lora_rank ? Json(*c.lora_rank) : Json()},
                 {"seq_len", c.seq_len},
                 {"ac", c.ac},
                 {"attention", c.attention},
                 {"cp", c.cp},
                 {"ep", c.ep},
                 {"micro_batches", c.micro_batches},
                 {"timeout", c.timeout},
                 {"numeric_mode", c.numeric_mode},
                 {"publication", c.publication.empty() ? Json() : Json(c.publication)},
                 {"memory_limit", c.memory_limit.empty() ? Json() : Json(c.memory_limit)},
                 {"scaling", c.scaling.empty() ? Json() : Json(c.scaling)},
                 {"device_name", c.device_name},
                 {"commit_sha", c.commit_sha},
                 {"timestamp", c.timestamp},
                 {"success", c.success},
                 {"error_reason", c.error_reason.empty() ? Json() : Json(c.error_reason)},
                 {"time_taken", c.time_taken}};
  const Metrics& m = result.metrics;
  Json metrics = {{"mfu", to_value(m.mfu)},
                  {"throughput", to_value(m.throughput)},
                  {"step_time", to_value(m.step_time)},
                  {"peak_memory", {{"gib", m.peak_memory_gib}, {"pct", m.peak_memory_pct}}}};
  Json whole = {{"config", std::move(config)}, {"metrics", std::move(metrics)}};
  if (result.extension) {
    const Extension& e = *result.extension;
    whole["rlcpp"] = {{"schema", 1},
                      {"true_mfu", to_value(e.true_mfu)},
                      {"planned_memory_gib", e.planned_memory_gib},
                      {"first_step_seconds", e.first_step_seconds},
                      {"first_step_begins", e.first_step_begins},
                      {"peak_tflops", e.peak_tflops},
                      {"peak_source", e.peak_source},
                      {"step_seconds", e.step_seconds},
                      {"losses", e.losses},
                      {"grad_norms", e.grad_norms},
                      {"versions", e.versions},
                      {"clocks", e.clocks},
                      {"repeats", e.repeats},
                      {"command", e.command}};
  }
  return whole.dump(1) + "\n";
}

Result from_json(const std::string& text, const std::string& where) {
  try {
    const Json whole = parse_json_or_throw<Json>(text);
    Result result;
    result.config = config_from(whole.at("config"));
    const Json& m = whole.at("metrics");
    result.metrics.mfu = summary_from(m.at("mfu"));
    result.metrics.throughput = summary_from(m.at("throughput"));
    result.metrics.step_time = summary_from(m.at("step_time"));
    result.metrics.peak_memory_gib = m.at("peak_memory").value("gib", 0.0);
    result.metrics.peak_memory_pct = m.at("peak_memory").value("pct", 0.0);
    if (whole.contains("rlcpp")) result.extension = extension_from(whole["rlcpp"]);
    return result;
  } catch (const Json::exception& problem) {
    throw bad_input(where + " is not a benchmark result", json_problem(problem, text), kMend);
  } catch (const Error& problem) {  // of one value
    throw bad_input(fmt::format("{} is not a benchmark result: {}", where, problem.what()), problem.because(),
                    kMend);
  }
}

std::vector<Result> read_directory(const std::string& path) {
  const std::vector<std::string> names = json_files(path, "benchmark-");
  std::vector<Result> results;
  results.reserve(names.size());
  for (const std::string& name : names) results.push_back(from_json(durable::read_file(name), name));
  return results;
}

}  // namespace rlcpp::bench
