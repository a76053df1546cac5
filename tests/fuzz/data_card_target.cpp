// The README.md of a data set of the hub: what its header says of files.
#include "data/card_yaml.h"
#include "data/data_card.h"
#include "fuzz/targets.h"

namespace rlcpp::fuzz {

void data_card(std::string_view bytes) {
  const data::DataCard card = data::read_data_card(bytes);  // never throws
  const std::string_view path = bytes.substr(0, 64);
  for (const data::CardSubset& subset : card.subsets) {
    require(!subset.name.empty(), "a subset has a name");
    for (const data::CardSplit& split : subset.splits) {
      for (const std::string& pattern : split.patterns) {
        require(data::matches_pattern("", pattern) || !pattern.empty(), "nothing matches nothing");
        (void)data::matches_pattern("data/train-00000-of-00001.parquet", pattern);
        (void)data::matches_pattern(path, pattern);
      }
    }
  }
  // A path without signs of a pattern is one for itself alone.
  if (path.find_first_of("*?[") == std::string_view::npos && !path.starts_with("./")) {
    require(data::matches_pattern(path, path), "a plain path matches itself");
    require(!data::matches_pattern(std::string(path) + "x", path), "and no longer one");
  }
  try {
    const auto value = data::yaml_header_value(bytes, "configs");
    require(!value.is_discarded(), "a value is whole");
  } catch (const data::UnknownYaml& unknown) {
    require(!std::string_view(unknown.what()).empty(), "it is said what is not known");
    require(card.subsets.empty(), "what is not known gives no subsets");
  }
}

}  // namespace rlcpp::fuzz
