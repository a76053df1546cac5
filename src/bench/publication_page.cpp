#include "bench/publication_page.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/durable.h"
#include "base/error.h"
#include "base/json_problem.h"
#include "base/json_text.h"
#include "bench/json_files.h"
#include "bench/page.h"
#include "bench/page_text.h"

namespace rlcpp::bench {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kPublicationHelp = "rlcpp bench publication --output-json FILE writes such a file";

std::string line_of(const PublicationFile& f) {
  const auto ms = [](double seconds) { return fmt::format("{:.1f}", 1e3 * seconds); };
  return fmt::format(
      "| {} | {} | {} | {:.2f} GB | {} ms | {} / {} / {} / {} ms | {:.1f} GB/s | {} | {} | {} |\n",
      cell(model_title(f.model_name)), f.num_gpus, cell(f.device_name), f.bytes / 1e9, ms(f.seconds),
      ms(f.checksums), ms(f.transfer), ms(f.verify), ms(f.replace), f.bytes / f.seconds / 1e9, f.repeats,
      cell(f.commit), cell(f.timestamp.substr(0, f.timestamp.find('T'))));
}

}  // namespace

PublicationFile publication_from_json(const std::string& text, const std::string& where) {
  PublicationFile f;
  try {
    const Json whole = parse_json_or_throw<Json>(text);
    const Json& config = whole.at("config");
    if (whole.at("kind") != "publication")
      throw bad_input(where + " is no result of publications", "its kind is another", kPublicationHelp);
    f.model_name = config.at("model_name");
    f.device_name = config.at("device_name");
    f.commit = config.at("commit_sha");
    f.timestamp = config.at("timestamp");
    f.num_gpus = whole_number<std::int64_t>(config.at("num_gpus"));
    f.repeats = whole_number<std::int64_t>(config.at("repeats"));
    f.bytes = whole.at("bytes");
    f.seconds = whole.at("seconds");
    const Json& split = whole.at("split");
    f.checksums = split.at("checksums");
    f.transfer = split.at("transfer");
    f.verify = split.at("verify");
    f.replace = split.at("replace");
  } catch (const Json::exception& problem) {
    throw bad_input(where + " does not have the figures of a publication", json_problem(problem, text),
                    kPublicationHelp);
  }
  if (f.num_gpus < 2 || f.repeats < 1 || !(f.bytes > 0) || !(f.seconds > 0) ||
      std::min({f.checksums, f.transfer, f.verify, f.replace}) < 0) {
    throw bad_input(where + " has figures that no run can have",
                    "it needs two GPUs or more, repeats, and bytes and seconds above 0", kPublicationHelp);
  }
  return f;
}

std::vector<PublicationFile> read_publications(const std::string& path) {
  const std::vector<std::string> names = json_files(path);
  std::vector<PublicationFile> files;
  files.reserve(names.size());
  for (const std::string& name : names)
    files.push_back(publication_from_json(durable::read_file(name), name));
  return files;
}

std::string render_publications(const std::vector<PublicationFile>& files) {
  if (files.empty()) return {};
  std::string out =
      "\n## Publication\n\nWeights from the GPU that trains to the engines of the others over the "
      "communicator (`rlcpp bench publication`), until they are verified and in the place of those before: "
      "medians, of the slowest rank. Split: checksums of what is sent / its way / checksums of what came / "
      "the copy into its place. Rate: of the whole.\n\n"
      "| Model | GPUs | Device | Weights | Publication | Split | Rate | Repeats | Commit | Date |\n"
      "|-------|------|--------|---------|-------------|-------|------|---------|--------|------|\n";
  for (const PublicationFile& file : files) out += line_of(file);
  return out;
}

}  // namespace rlcpp::bench
