#include "hub/gguf.h"

#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <random>

#include "base/error.h"
#include "data_path.h"
#include "hub/gguf_file.h"
#include "support.h"

namespace rlcpp::hub {
namespace {

using test::gguf_string;
using test::GgufWriter;
using test::le;
using test::TemporaryDirectory;

std::string write(const TemporaryDirectory& dir, const std::string& bytes) {
  const std::string path = dir / "m.gguf";
  std::ofstream(path, std::ios::binary) << bytes;
  return path;
}

// The error's whole text for a file of these bytes; fails the test if it is accepted.
std::string refusal(const std::string& bytes) {
  const TemporaryDirectory dir;
  const std::string path = write(dir, bytes);
  try {
    const GgufFile file(path);
    ADD_FAILURE() << "accepted";
    return {};
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kBadInput);
    EXPECT_NE(error.render().find(path), std::string::npos) << error.render();
    return error.render();
  }
}

void expect_refused(const std::string& bytes, const std::string& part) {
  const std::string text = refusal(bytes);
  EXPECT_NE(text.find(part), std::string::npos) << "wanted: " << part << "\ngot: " << text;
}

GgufWriter small() {
  GgufWriter w;
  w.text("general.architecture", "llama");
  w.u32("llama.block_count", 2);
  w.f32("llama.rope.freq_base", 1e5F);
  w.flag("tokenizer.ggml.add_bos_token", true);
  w.texts("tokenizer.ggml.tokens", {"a", "", "\xC3\xA9"});
  w.i32s("tokenizer.ggml.token_type", {1, 3, -4});
  w.f32_tensor("a", {2, 3}, {1, 2, 3, 4, 5, -0.0F});
  w.f32_tensor("b", {1}, {7});
  return w;
}

TEST(Gguf, ReadsPairsAndTensors) {
  const TemporaryDirectory dir;
  GgufWriter w = small();
  w.pair("u8", 0, le<std::uint8_t>(200));
  w.pair("i8", 1, le<std::int8_t>(-7));
  w.pair("u16", 2, le<std::uint16_t>(60000));
  w.pair("i16", 3, le<std::int16_t>(-30000));
  w.pair("i32", 5, le<std::int32_t>(-5));
  w.pair("u64", 10, le<std::uint64_t>(~std::uint64_t{0}));
  w.pair("i64", 11, le<std::int64_t>(std::numeric_limits<std::int64_t>::min()));
  w.pair("f64", 12, le<double>(0.25));
  w.pair("nested", 9,
         le<std::uint32_t>(9) + le<std::uint64_t>(1) + le<std::uint32_t>(0) + le<std::uint64_t>(2) + "xy");
  const GgufFile file(write(dir, w.bytes()));
  EXPECT_EQ(file.text("general.architecture"), "llama");
  EXPECT_EQ(file.integer("llama.block_count", 0, 10), 2);
  EXPECT_EQ(file.number("llama.rope.freq_base", 1, 1e9), 1e5);
  EXPECT_TRUE(file.flag("tokenizer.ggml.add_bos_token", false));
  EXPECT_EQ(file.texts("tokenizer.ggml.tokens"), (std::vector<std::string>{"a", "", "\xC3\xA9"}));
  EXPECT_EQ(file.integers("tokenizer.ggml.token_type"), (std::vector<std::int64_t>{1, 3, -4}));
  constexpr auto kLow = std::numeric_limits<std::int64_t>::min(),
                 kHigh = std::numeric_limits<std::int64_t>::max();
  EXPECT_EQ(file.integer("u8", kLow, kHigh), 200);
  EXPECT_EQ(file.integer("i8", kLow, kHigh), -7);
  EXPECT_EQ(file.integer("u16", kLow, kHigh), 60000);
  EXPECT_EQ(file.integer("i16", kLow, kHigh), -30000);
  EXPECT_EQ(file.integer("i32", kLow, kHigh), -5);
  EXPECT_EQ(file.integer("u64", kLow, kHigh), kHigh);
  EXPECT_EQ(file.integer("i64", kLow, kHigh), kLow);
  EXPECT_EQ(file.number("f64", 0, 1), 0.25);
  EXPECT_EQ(file.integer("absent", 0, 9, 4), 4);
  EXPECT_TRUE(std::holds_alternative<std::monostate>(file.values().at("nested")));

  ASSERT_EQ(file.tensors().size(), 2U);
  const GgufTensor& a = file.tensors().at("a");
  EXPECT_EQ(a.shape, (std::vector<std::int64_t>{2, 3}));
  EXPECT_EQ(a.offset % 32, 0U);
  std::vector<float> values(6, std::numeric_limits<float>::quiet_NaN());
  file.read_f32(a, values);
  EXPECT_EQ(values, (std::vector<float>{1, 2, 3, 4, 5, 0}));
  EXPECT_TRUE(std::signbit(values[5]));
}

TEST(Gguf, RefusesValuesOfAnotherTypeOrRange) {
  const TemporaryDirectory dir;
  GgufWriter w = small();
  w.f32("nan", std::numeric_limits<float>::quiet_NaN());
  const GgufFile file(write(dir, w.bytes()));
  const auto refused = [&](auto call, const std::string& part) {
    try {
      call();
      ADD_FAILURE() << "accepted: " << part;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kBadInput);
      EXPECT_NE(error.render().find(part), std::string::npos) << error.render();
    }
  };
  refused([&] { file.integer("llama.block_count", 3, 9); }, "from 3 to 9");
  refused([&] { file.integer("general.architecture", 3, 9); }, "it is text");
  refused([&] { file.integer("absent", 3, 9); }, "absent is missing");
  refused([&] { file.number("nan", -1e300, 1e300); }, "nan must be a number");
  refused([&] { file.text("llama.block_count"); }, "must be text");
  refused([&] { file.flag("llama.block_count", false); }, "true or false");
  refused([&] { file.texts("tokenizer.ggml.token_type"); }, "a list of texts");
  refused([&] { file.integers("tokenizer.ggml.tokens"); }, "a list of whole numbers");
}

TEST(Gguf, AlignmentIsTheFiles) {
  const TemporaryDirectory dir;
  GgufWriter w;
  w.alignment = 256;
  w.u32("general.alignment", 256);
  w.f32_tensor("a", {1}, {3});
  w.f32_tensor("b", {1}, {4});
  const GgufFile file(write(dir, w.bytes()));
  EXPECT_EQ(file.tensors().at("a").offset % 256, 0U);
  std::vector<float> value(1);
  file.read_f32(file.tensors().at("b"), value);
  EXPECT_EQ(value[0], 4);
  for (const std::uint32_t bad : {0U, 3U, 48U, 1U << 21}) {
    GgufWriter wrong;
    wrong.u32("general.alignment", bad);
    wrong.f32_tensor("a", {1}, {3});
    expect_refused(wrong.bytes(), "general.alignment");
  }
}

TEST(Gguf, RefusesWhatIsNoGguf) {
  expect_refused("", "the magic at byte 0 claims 4 bytes");
  expect_refused("GGM", "are left");
  expect_refused("GGML" + std::string(64, '\0'), "not a GGUF file");
  GgufWriter w = small();
  w.version = 1;
  expect_refused(w.bytes(), "version 1 of GGUF");
  w.version = 4;
  expect_refused(w.bytes(), "version 4 of GGUF");
  w.version = 0x03000000;
  expect_refused(w.bytes(), "big-endian");
  const TemporaryDirectory dir;
  EXPECT_THROW(GgufFile(dir / "absent"), Error);
  EXPECT_THROW(GgufFile(dir.path()), Error);
}

// Every prefix of a file is refused, and says so in one sentence.
TEST(Gguf, RefusesEveryTruncation) {
  const std::string whole = small().bytes();
  const std::size_t last = 32 + 4;  // the data: one tensor, padded, and one of four bytes
  ASSERT_EQ(small().data_bytes(), last);
  for (std::size_t size = 0; size < whole.size(); ++size) {
    const std::string text = refusal(whole.substr(0, size));
    EXPECT_NE(text.find("GGUF"), std::string::npos) << size << ": " << text;
    if (HasFailure()) break;
  }
}

TEST(Gguf, RefusesHugeCounts) {
  const GgufWriter w = small();
  for (const std::uint64_t count : {std::uint64_t{1} << 20, std::uint64_t{1} << 40, ~std::uint64_t{0}}) {
    expect_refused(w.bytes_claiming(count, 6), "claims " + std::to_string(count) + " tensors");
    expect_refused(w.bytes_claiming(2, count), "claims " + std::to_string(count) + " key-value pairs");
    GgufWriter strings;
    strings.pair("list", 9, le<std::uint32_t>(8) + le(count));
    expect_refused(strings.bytes(), "elements of 'list'");
    GgufWriter numbers;
    numbers.pair("list", 9, le<std::uint32_t>(4) + le(count));
    expect_refused(numbers.bytes(), "elements of 'list'");
    GgufWriter text;
    text.pair("text", 8, le(count));
    expect_refused(text.bytes(), "'text' at byte");
    expect_refused("GGUF" + le<std::uint32_t>(3) + le<std::uint64_t>(0) + le<std::uint64_t>(1) + le(count) +
                       std::string(64, 'k'),
                   "the key of pair 0");
  }
}

TEST(Gguf, RefusesDamage) {
  GgufWriter twice = small();
  twice.u32("llama.block_count", 3);
  expect_refused(twice.bytes(), "'llama.block_count' is there twice");
  GgufWriter tensors = small();
  tensors.f32_tensor("a", {1}, {3});
  expect_refused(tensors.bytes(), "tensor 'a' is there twice");
  GgufWriter unknown;
  unknown.pair("odd", 13, "xxxx");
  expect_refused(unknown.bytes(), "'odd' has the unknown value type 13");
  GgufWriter elements;
  elements.pair("odd", 9, le<std::uint32_t>(77) + le<std::uint64_t>(1) + "x");
  expect_refused(elements.bytes(), "unknown value type 77");
  GgufWriter deep;
  std::string arrays;
  for (int i = 0; i < 100; ++i) arrays += le<std::uint32_t>(9) + le<std::uint64_t>(1);
  deep.pair("deep", 9, arrays);
  expect_refused(deep.bytes(), "arrays in arrays");
}

TEST(Gguf, RefusesTensorsThatDoNotFit) {
  const auto with = [](std::uint32_t type, const std::vector<std::uint64_t>& shape, std::uint64_t offset) {
    GgufWriter w = small();
    w.tensor_at("bad", type, shape, offset);
    return w.bytes();
  };
  expect_refused(with(0, {1}, 64), "tensor 'bad' takes bytes 64 to 68");
  expect_refused(with(0, {1}, ~std::uint64_t{0} - 31), "tensor 'bad'");
  expect_refused(with(0, {1}, 33), "no multiple of 32");
  expect_refused(with(0, {1}, 0), "overlap");
  expect_refused(with(0, {0}, 0), "an impossible extent of 0");
  expect_refused(with(0, {std::uint64_t{1} << 63}, 0), "an impossible extent");
  expect_refused(with(0, {std::uint64_t{1} << 33, std::uint64_t{1} << 33}, 0), "an impossible extent");
  expect_refused(with(0, {1, 1, 1, 1, 1}, 0), "has 5 dimensions");
  expect_refused(with(2, {2, 48}, 0), "rows of 48 numbers, and Q4_0 holds them in blocks of 32");
  expect_refused(with(12, {256}, 0), "stored as Q4_K, which rlcpp does not read");
  expect_refused(with(4, {256}, 0), "stored as number 4, which");
}

// One byte of the header changed at random: a file is read or refused, and nothing else happens.
TEST(Gguf, AnyDamagedByteIsReadOrRefused) {
  const TemporaryDirectory dir;
  std::mt19937_64 random(test::fresh_seed());
  const std::string whole = small().bytes();
  int refused = 0;
  for (int i = 0; i < (test::long_tier() ? 20000 : 500); ++i) {
    std::string bytes = whole;
    for (int n = 0; n < 1 + i % 3; ++n) bytes[random() % bytes.size()] = static_cast<char>(random());
    try {
      const GgufFile file(write(dir, bytes));
      for (const auto& [name, tensor] : file.tensors()) {
        std::vector<float> values(tensor.elements);
        file.read_f32(tensor, values);
      }
    } catch (const Error& error) {
      ASSERT_EQ(error.code(), ExitCode::kBadInput);
      ++refused;
    }
  }
  EXPECT_GT(refused, 50);
}

std::string from_hex(const std::string& hex) {
  std::string bytes;
  for (std::size_t i = 0; i < hex.size(); i += 2)
    bytes.push_back(static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16)));
  return bytes;
}

// gguf_blocks.json: tools/oracle_gguf.py, the values that llama.cpp's gguf-py gives.
TEST(GgufBlocks, EqualGgufPyBitForBit) {
  std::ifstream stream(test::data_path("hub/gguf_blocks.json"));
  const auto golden = nlohmann::json::parse(stream);
  ASSERT_EQ(golden["cases"].size(), 7U);
  for (const auto& one : golden["cases"]) {
    SCOPED_TRACE(one["name"].get<std::string>());
    const GgufTypeInfo* info = gguf_type(one["type"].get<std::uint32_t>());
    ASSERT_NE(info, nullptr);
    EXPECT_EQ(info->name, one["name"].get<std::string>());
    const std::string bytes = from_hex(one["bytes"]), wanted = from_hex(one["values"]);
    ASSERT_EQ(bytes.size() % info->block_bytes, 0U);
    std::vector<float> values(bytes.size() / info->block_bytes * info->block_elements,
                              std::numeric_limits<float>::quiet_NaN());
    ASSERT_EQ(values.size() * sizeof(float), wanted.size());
    dequantise(info->type, std::as_bytes(std::span(bytes)), values);
    for (std::size_t i = 0; i < values.size(); ++i) {
      ASSERT_EQ(std::memcmp(&values[i], wanted.data() + i * sizeof(float), sizeof(float)), 0)
          << "number " << i << " is " << values[i];
    }
  }
  EXPECT_THROW(dequantise(GgufType::kQ8_0, std::as_bytes(std::span("too short", 9)), {}), std::exception);
}

}  // namespace
}  // namespace rlcpp::hub
