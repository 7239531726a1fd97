#include "common/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>

#include "absl/strings/str_cat.h"

namespace tributary {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// A file with this header text and `data_size` zero bytes of data.
std::string FileWith(absl::string_view header, size_t data_size) {
  const uint64_t size = header.size();
  std::string bytes(reinterpret_cast<const char*>(&size), sizeof(size));
  bytes.append(header.data(), header.size());
  bytes.append(data_size, '\0');
  return bytes;
}

TEST(SafetensorsTest, DecodesWhatItEncodes) {
  const std::vector<float> a = {1, 2, 3, 4, 5, 6};
  const std::vector<float> b = {-0.5f};
  const auto bytes =
      EncodeSafetensors({{{"z", {2, 3}, a}, {"scalar", {}, b}, {"empty", {0, 7}, {}}}}, {{"run", "r \"1\""}, {"round", "9"}});
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  const auto file = DecodeSafetensors(*bytes);
  ASSERT_TRUE(file.ok()) << file.status();
  ASSERT_EQ(file->tensors.size(), 3u);
  EXPECT_EQ(file->tensors[0].name, "z");
  EXPECT_THAT(file->tensors[0].shape, ElementsAre(2, 3));
  EXPECT_EQ(file->tensors[0].values, a);
  EXPECT_EQ(file->tensors[1].name, "scalar");
  EXPECT_EQ(file->tensors[1].values, b);
  EXPECT_EQ(file->tensors[2].name, "empty");
  EXPECT_EQ(file->metadata.at("run"), "r \"1\"");
  EXPECT_EQ(file->metadata.at("round"), "9");
}

TEST(SafetensorsTest, EncodesAsTheFormatDescriptionSays) {
  const std::vector<float> values = {1.0f};
  const std::string bytes = EncodeSafetensors({{{"w", {1}, values}}}, {}).value();
  uint64_t header_size;
  std::memcpy(&header_size, bytes.data(), 8);
  EXPECT_EQ(header_size % 8, 0u);
  EXPECT_EQ(bytes.size(), 8 + header_size + 4);
  EXPECT_THAT(bytes.substr(8, header_size), HasSubstr(R"({"w":{"data_offsets":[0,4],"dtype":"F32","shape":[1]}})"));
  EXPECT_EQ(bytes.substr(8 + header_size), std::string("\0\0\x80\x3f", 4));
}

TEST(SafetensorsTest, ReadsHalvesOfBothKindsExactly) {
  const auto values_of = [](const char* dtype, std::vector<uint16_t> halves) {
    std::string bytes = FileWith(
        absl::StrCat(R"({"w":{"dtype":")", dtype, R"(","shape":[)", halves.size(), R"(],"data_offsets":[0,)", 2 * halves.size(), "]}}"), 0);
    bytes.append(reinterpret_cast<const char*>(halves.data()), 2 * halves.size());
    return DecodeSafetensors(bytes).value().tensors[0].values;
  };
  EXPECT_THAT(values_of("BF16", {0x3f80, 0xc020, 0x0000, 0x0001, 0x7f7f}), ElementsAre(1.0f, -2.5f, 0.0f, 0x1p-133f, 0x1.fep127f));
  EXPECT_THAT(values_of("F16", {0x3c00, 0xc100, 0x8000, 0x0001, 0x83ff, 0x0400, 0x7bff}),
              ElementsAre(1.0f, -2.5f, -0.0f, 0x1p-24f, -0x1.ff8p-15f, 0x1p-14f, 65504.0f));
  EXPECT_TRUE(std::isinf(values_of("F16", {0x7c00})[0]));
  EXPECT_TRUE(std::isnan(values_of("F16", {0x7e00})[0]));
  EXPECT_TRUE(std::signbit(values_of("F16", {0x8000})[0]));
}

TEST(SafetensorsTest, RefusesToEncodeWhatNobodyCouldRead) {
  const std::vector<float> one = {1};
  EXPECT_FALSE(EncodeSafetensors({{{"w", {2}, one}}}, {}).ok());
  EXPECT_FALSE(EncodeSafetensors({{{"w", {-1}, one}}}, {}).ok());
  EXPECT_FALSE(EncodeSafetensors({{{"w", {1}, one}, {"w", {1}, one}}}, {}).ok());
  EXPECT_FALSE(EncodeSafetensors({{{"", {1}, one}}}, {}).ok());
  EXPECT_FALSE(EncodeSafetensors({{{"__metadata__", {1}, one}}}, {}).ok());
  EXPECT_FALSE(EncodeSafetensors({{{"\xff", {1}, one}}}, {}).ok());
}

struct HostileCase {
  const char* name;
  std::string bytes;
};

TEST(SafetensorsTest, RefusesHostileFiles) {
  const HostileCase cases[] = {
      {"nothing", ""},
      {"a cut length", std::string(7, '\0')},
      {"a header longer than the file", std::string("\xff\xff\xff\xff\xff\xff\xff\xff{}", 10)},
      {"no JSON", FileWith("{\"w\":", 0)},
      {"a list", FileWith("[]", 0)},
      {"deep nesting", FileWith(std::string(100000, '['), 0)},
      {"a name twice",
       FileWith(R"({"w":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},"w":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}})", 0)},
      {"another dtype", FileWith(R"({"w":{"dtype":"I32","shape":[1],"data_offsets":[0,4]}})", 4)},
      {"halves that are too long", FileWith(R"({"w":{"dtype":"F16","shape":[1],"data_offsets":[0,4]}})", 4)},
      {"no dtype", FileWith(R"({"w":{"shape":[1],"data_offsets":[0,4]}})", 4)},
      {"no shape", FileWith(R"({"w":{"dtype":"F32","data_offsets":[0,4]}})", 4)},
      {"no offsets", FileWith(R"({"w":{"dtype":"F32","shape":[1]}})", 4)},
      {"a negative extent", FileWith(R"({"w":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", 4)},
      {"extents that overflow", FileWith(R"({"w":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}})", 0)},
      {"a fractional extent", FileWith(R"({"w":{"dtype":"F32","shape":[1.5],"data_offsets":[0,4]}})", 4)},
      {"offsets backwards", FileWith(R"({"w":{"dtype":"F32","shape":[1],"data_offsets":[8,4]}})", 8)},
      {"offsets outside the file", FileWith(R"({"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 3)},
      {"a shape of another size", FileWith(R"({"w":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", 4)},
      {"a hole", FileWith(R"({"w":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", 8)},
      {"bytes at the end", FileWith(R"({"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 5)},
      {"overlap",
       FileWith(R"({"v":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"w":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", 8)},
      {"metadata that is not text", FileWith(R"({"__metadata__":{"a":1}})", 0)},
      {"a tensor that is a number", FileWith(R"({"w":1})", 0)},
  };
  for (const HostileCase& hostile : cases) {
    const auto result = DecodeSafetensors(hostile.bytes);
    EXPECT_EQ(result.status().code(), absl::StatusCode::kDataLoss) << hostile.name << ": " << result.status();
  }
}

// What it would take in memory is many times its length.
TEST(SafetensorsTest, ALongHeaderIsRefusedBeforeItIsParsed) {
  const std::string empty = R"({"__metadata__":{"k":""}})";
  const std::string metadata(kMaxSafetensorsHeader - empty.size(), 'x');
  const auto file = [&](const std::string& value) { return FileWith(R"({"__metadata__":{"k":")" + value + R"("}})", 0); };
  EXPECT_TRUE(DecodeSafetensors(file(metadata)).ok());
  const absl::Status refused = DecodeSafetensors(file(metadata + "x")).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kDataLoss);
  EXPECT_NE(refused.message().find("at most 1048576 are read"), absl::string_view::npos) << refused;
}

TEST(SafetensorsTest, SurvivesRandomDamage) {
  const std::vector<float> values(64, 1.0f);
  const std::string good =
      EncodeSafetensors({{{"a", {8, 4}, absl::MakeSpan(values).subspan(0, 32)}, {"b", {32}, absl::MakeSpan(values).subspan(32)}}},
                        {{"k", "v"}})
          .value();
  std::mt19937 random(7);
  int refused = 0;
  for (int i = 0; i < 5000; ++i) {
    std::string bytes = good;
    for (unsigned n = 0; n <= random() % 4; ++n) {
      bytes[random() % bytes.size()] = static_cast<char>(random());
    }
    if (random() % 4 == 0) {
      bytes.resize(random() % bytes.size());
    }
    const absl::StatusOr<SafetensorsFile> file = DecodeSafetensors(bytes);
    if (!file.ok()) {
      EXPECT_EQ(file.status().code(), absl::StatusCode::kDataLoss) << file.status();
      ++refused;
      continue;
    }
    for (const SafetensorsFile::Entry& tensor : file->tensors) {
      EXPECT_LE(tensor.values.size() * sizeof(float), bytes.size()) << "more than there was";
    }
  }
  EXPECT_GT(refused, 1000);
}

}  // namespace
}  // namespace tributary
