#include "hub/safetensors_index.h"

#include <fstream>

#include "base/error.h"
#include "support.h"

namespace rlcpp::hub {
namespace {

std::map<std::string, std::string> read(const std::string& text) {
  const test::TemporaryDirectory dir;
  std::ofstream(dir / "i.json", std::ios::binary) << text;
  return read_safetensors_index(dir / "i.json");
}

TEST(SafetensorsIndex, MapsTensorsToFiles) {
  const auto map =
      read(R"({"metadata":{"total_size":3},"weight_map":{"a":"x-1.safetensors","b":"x-2.safetensors"}})");
  EXPECT_EQ(map.size(), 2U);
  EXPECT_EQ(map.at("b"), "x-2.safetensors");
}

TEST(SafetensorsIndex, NeverLeavesItsDirectory) {
  for (const std::string name :
       {"../x.safetensors", "/etc/x.safetensors", "d/x.safetensors", "..", "", "x.bin", "..safetensors",
        ".hidden.safetensors", "a\\\\x.safetensors", "x\\u0000.safetensors"}) {
    EXPECT_THROW(read(R"({"weight_map":{"a":")" + name + "\"}}"), Error) << name;
  }
}

TEST(SafetensorsIndex, RefusesOtherShapes) {
  for (const std::string text : {"", "[]", "{}", R"({"weight_map":{}})", R"({"weight_map":[1]})",
                                 R"({"weight_map":{"a":1}})", R"({"weight_map":{"a":"x.safetensors")"}) {
    try {
      read(text);
      ADD_FAILURE() << "accepted: " << text;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kBadInput);
      EXPECT_NE(error.render().find("i.json"), std::string::npos);
    }
  }
}

}  // namespace
}  // namespace rlcpp::hub
