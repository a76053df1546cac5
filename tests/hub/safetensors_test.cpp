#include "hub/safetensors.h"

#include <cstring>
#include <fstream>
#include <limits>

#include "base/error.h"
#include "hub/safetensors_header.h"
#include "support.h"

namespace rlcpp::hub {
namespace {

using test::TemporaryDirectory;

void write_file(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

std::string with_length(std::uint64_t length, const std::string& rest) {
  std::string bytes(8, '\0');
  for (std::size_t i = 0; i < 8; ++i) bytes[i] = static_cast<char>(length >> (8 * i) & 0xFF);
  return bytes + rest;
}

std::string file_of(const std::string& header, std::size_t data_bytes) {
  return with_length(header.size(), header + std::string(data_bytes, 'x'));
}

// The error's whole text for a file of these bytes; fails the test if it is accepted.
std::string refusal(const TemporaryDirectory& dir, const std::string& bytes) {
  const std::string path = dir / "m.safetensors";
  write_file(path, bytes);
  try {
    const SafetensorsFile file(path);
    ADD_FAILURE() << "accepted";
    return {};
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kBadInput);
    EXPECT_NE(error.render().find(path), std::string::npos) << error.render();
    return error.render();
  }
}

void expect_refused(const std::string& bytes, const std::string& part) {
  const TemporaryDirectory dir;
  const std::string text = refusal(dir, bytes);
  EXPECT_NE(text.find(part), std::string::npos) << "wanted: " << part << "\ngot: " << text;
}

TEST(Safetensors, ReadsWhatTheHeaderWriterWrote) {
  const TemporaryDirectory dir;
  const std::vector<StoredTensor> tensors = {{"a \"quoted\" \xC3\xA9", DType::kF32, {2, 3}, 0, 24},
                                             {"empty", DType::kI64, {0, 7}, 0, 0},
                                             {"half", DType::kBF16, {3}, 0, 6},
                                             {"scalar", DType::kF16, {}, 0, 2}};
  std::string data(32, '\0');
  const std::array<float, 6> a = {1.5F, -2, 0, 1e-30F, 3e38F, -0.0F};
  std::memcpy(data.data(), a.data(), 24);
  const std::array<std::uint16_t, 3> half = {0x3F80, 0xC000, 0x7F80};  // 1, -2, inf
  std::memcpy(data.data() + 24, half.data(), 6);
  const std::uint16_t scalar = 0x3800;  // 0.5
  std::memcpy(data.data() + 30, &scalar, 2);
  const std::string header = safetensors_header(tensors, {{"format", "pt"}, {"note", "\n"}});
  EXPECT_EQ(header.size() % 8, 0U);
  write_file(dir / "m.safetensors", header + data);

  const SafetensorsFile file(dir / "m.safetensors");
  EXPECT_EQ(file.metadata().at("format"), "pt");
  EXPECT_EQ(file.metadata().at("note"), "\n");
  ASSERT_EQ(file.tensors().size(), 4U);
  EXPECT_EQ(file.tensors().at("empty").shape, (std::vector<std::int64_t>{0, 7}));
  std::vector<float> out(6, std::numeric_limits<float>::quiet_NaN());
  file.read_f32(file.tensors().at(tensors[0].name), out);
  EXPECT_EQ(std::memcmp(out.data(), a.data(), 24), 0);
  out.resize(3);
  file.read_f32(file.tensors().at("half"), out);
  EXPECT_EQ(out, (std::vector<float>{1, -2, std::numeric_limits<float>::infinity()}));
  out.resize(1);
  file.read_f32(file.tensors().at("scalar"), out);
  EXPECT_EQ(out[0], 0.5F);
  out.resize(0);
  EXPECT_THROW(file.read_f32(file.tensors().at("empty"), out), Error);  // i64 is no weight
  const auto bytes = file.bytes(file.tensors().at("half"));
  EXPECT_EQ(std::memcmp(bytes.data(), half.data(), 6), 0);
}

TEST(Safetensors, AcceptsTensorsInAnyOrderAndUnaligned) {
  const TemporaryDirectory dir;
  // The header lists the later tensor first, and its one odd byte puts the f32 at an odd address.
  const std::string header =
      R"({"b":{"dtype":"F32","shape":[1],"data_offsets":[1,5]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})";
  std::string bytes = file_of(header, 1);
  const float value = 7.25F;
  bytes.append(reinterpret_cast<const char*>(&value), 4);
  write_file(dir / "m.safetensors", bytes);
  const SafetensorsFile file(dir / "m.safetensors");
  std::vector<float> out(1);
  file.read_f32(file.tensors().at("b"), out);
  EXPECT_EQ(out[0], 7.25F);
}

TEST(Safetensors, RefusesWhatIsNoFile) {
  const TemporaryDirectory dir;
  EXPECT_THROW(SafetensorsFile(dir / "absent"), Error);
  EXPECT_THROW(SafetensorsFile(dir.path()), Error);
  expect_refused("", "has 0 bytes");
  expect_refused("1234567", "has 7 bytes");
}

TEST(Safetensors, RefusesAbsurdHeaderLengths) {
  for (const std::uint64_t length : {std::uint64_t{1} << 63, ~std::uint64_t{0}, ~std::uint64_t{0} - 7,
                                     std::uint64_t{100'000'001}, std::uint64_t{3}}) {
    expect_refused(with_length(length, "{}"), "claim a header of " + std::to_string(length) + " bytes");
  }
}

TEST(Safetensors, RefusesTruncation) {
  const std::string header = R"({"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}})";
  const std::string whole = file_of(header, 16);
  const TemporaryDirectory dir;
  for (std::size_t size = 0; size < whole.size(); size += 3) refusal(dir, whole.substr(0, size));
  expect_refused(whole.substr(0, whole.size() - 1), "truncated");
  expect_refused(whole + "x", "longer than its tensors");
  write_file(dir / "m.safetensors", whole);
  EXPECT_EQ(SafetensorsFile(dir / "m.safetensors").tensors().at("a").offset, header.size() + 8);
}

TEST(Safetensors, RefusesWrongHeaders) {
  const auto tensor = [](const std::string& fields) { return "{\"t\":{" + fields + "}}"; };
  const std::string f32 = R"("dtype":"F32",)";
  expect_refused(file_of("[]", 0), "does not start with '{'");
  expect_refused(file_of(R"({"t":)", 0), "not valid JSON");
  expect_refused(file_of(R"({"t":{}} x)", 0), "lacks dtype, shape or data_offsets");
  expect_refused(file_of(R"({} x)", 0), "not valid JSON");
  expect_refused(file_of("{\"\xff\":1}", 0), "not valid JSON");
  expect_refused(file_of(R"({"t":3})", 0), "the number 3 stands where");
  expect_refused(file_of(R"({"t":[{}]})", 0), "an array stands where");
  expect_refused(file_of(R"({"__metadata__":{"a":{}}})", 0), "an object stands where");
  expect_refused(file_of(R"({"__metadata__":{"a":"1","a":"2"}})", 0), "'a' appears twice");
  expect_refused(file_of(R"({"__metadata__":{},"__metadata__":{}})", 0), "__metadata__ appears twice");
  expect_refused(file_of(tensor(R"("dtype":"F8_E4M3","shape":[1],"data_offsets":[0,1])"), 1),
                 "tensor 't' has the data type 'F8_E4M3'");
  expect_refused(file_of(tensor(f32 + R"("shape":[1])"), 4), "lacks");
  expect_refused(file_of(tensor(f32 + R"("shape":[1],"data_offsets":[0])"), 4), "not two data_offsets");
  expect_refused(file_of(tensor(f32 + R"("shape":[1],"data_offsets":[0,4,8])"), 4), "more than two");
  expect_refused(file_of(tensor(f32 + R"("shape":[-1],"data_offsets":[0,4])"), 4), "the number -1");
  expect_refused(file_of(tensor(f32 + R"("shape":[1.5],"data_offsets":[0,4])"), 4), "the number 1.5");
  expect_refused(file_of(tensor(f32 + R"("shape":[true],"data_offsets":[0,4])"), 4), "a boolean");
  expect_refused(file_of(tensor(f32 + R"("shape":[2],"data_offsets":[0,4])"), 4), "needs 8 bytes");
  expect_refused(file_of(tensor(f32 + R"("shape":[1],"data_offsets":[4,0])"), 4), "data_offsets [4, 0]");
  expect_refused(file_of(tensor(f32 + R"("shape":[1],"data_offsets":[0,4],"extra":1)"), 4),
                 "unknown field 'extra'");
  expect_refused(file_of(tensor(f32 + f32 + R"("shape":[1],"data_offsets":[0,4])"), 4), "field dtype twice");
  expect_refused(file_of(tensor(f32 + R"("shape":[4294967296,4294967296],"data_offsets":[0,0])"), 0),
                 "overflows");
  expect_refused(file_of(tensor(f32 + R"("shape":[18446744073709551615],"data_offsets":[0,0])"), 0),
                 "dimension of");
  expect_refused(
      file_of(tensor(f32 + R"("shape":[1],"data_offsets":[18446744073709551611,18446744073709551615])"), 4),
      "ends at");
}

TEST(Safetensors, RefusesHolesOverlapsAndDoubles) {
  const auto two = [](const std::string& first, const std::string& second) {
    return R"({"a":{"dtype":"U8","shape":[2],"data_offsets":)" + first +
           R"(},"b":{"dtype":"U8","shape":[2],"data_offsets":)" + second + "}}";
  };
  expect_refused(file_of(two("[0,2]", "[3,5]"), 5), "a hole");
  expect_refused(file_of(two("[1,3]", "[3,5]"), 5), "a hole");
  expect_refused(file_of(two("[0,2]", "[1,3]"), 3), "an overlap");
  expect_refused(file_of(two("[0,2]", "[0,2]"), 2), "overlap");
  const std::string one = R"("a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]})";
  expect_refused(file_of("{" + one + "," + one + "}", 1), "tensor 'a' appears twice");
}

// What a reader makes of header text: tensors that lie inside the file, or an Error. True if it was refused.
bool survives(std::string_view text, std::size_t data_bytes) {
  try {
    const SafetensorsHeader header =
        parse_safetensors_header(text, 8 + text.size(), 8 + text.size() + data_bytes, "f");
    for (const auto& [name, tensor] : header.tensors) {
      EXPECT_GE(tensor.offset, 8 + text.size());
      EXPECT_LE(tensor.offset + tensor.bytes, 8 + text.size() + data_bytes);
    }
    return false;
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kBadInput);
    return true;
  }
}

const std::vector<StoredTensor> kTwoTensors = {{"a", DType::kF32, {2, 2}, 0, 16},
                                               {"b", DType::kBF16, {3}, 0, 6}};

TEST(Safetensors, SurvivesEveryByteOfTheHeader) {
  const std::string header = safetensors_header(kTwoTensors, {{"format", "pt"}}).substr(8);
  int refused = 0;
  for (std::size_t at = 0; at < header.size(); ++at) {
    for (int value = 0; value < 256; ++value) {
      std::string damaged = header;
      damaged[at] = static_cast<char>(value);
      refused += survives(damaged, 22) ? 1 : 0;
    }
  }
  EXPECT_FALSE(survives(header, 22));
  EXPECT_GT(refused, static_cast<int>(header.size()) * 128);  // most are seen; those inside a name cannot be
}

TEST(Safetensors, SurvivesEveryFlippedBitOfTheLength) {
  const TemporaryDirectory dir;
  const std::string whole = safetensors_header(kTwoTensors, {}) + std::string(22, '\x11');
  for (std::size_t bit = 0; bit < 64; ++bit) {
    std::string damaged = whole;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << (bit % 8)));
    refusal(dir, damaged);
  }
}

TEST(Safetensors, SurvivesRandomHeaders) {
  std::mt19937_64 random(test::fresh_seed());
  const std::string alphabet = R"({}[]":,0123456789.-eEadtypshofFU8_ \)";
  for (int trial = 0; trial < 20000; ++trial) {
    std::string header = "{";
    for (std::uint64_t i = random() % 60; i > 0; --i) header += alphabet[random() % alphabet.size()];
    survives(header, random() % 4);
  }
}

}  // namespace
}  // namespace rlcpp::hub
