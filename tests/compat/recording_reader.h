// Reads what tributary-sim --record wrote (sim/recording.h), and compares messages of two releases.
#ifndef TRIBUTARY_TESTS_COMPAT_RECORDING_READER_H_
#define TRIBUTARY_TESTS_COMPAT_RECORDING_READER_H_

#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/time/time.h"
#include "common/files.h"
#include "google/protobuf/util/json_util.h"
#include "sim/recording.h"

namespace tributary::sim {

struct RecordedLine {
  absl::Duration at;
  std::string stream;
  std::string verb;
  std::vector<std::string> words;  // of the arguments, before the JSON
  std::string json;
};

struct Recording {
  std::string config;
  std::vector<RecordedLine> lines;
  std::string hash;  // hexadecimal
};

inline Recording ReadRecording(const std::string& path) {
  Recording recording;
  const absl::StatusOr<std::string> text = ReadFile(path, 1 << 20);
  EXPECT_TRUE(text.ok()) << text.status();
  for (const absl::string_view line : absl::StrSplit(text.value_or(""), '\n', absl::SkipEmpty())) {
    const size_t brace = line.find('{');
    const std::vector<std::string> words = absl::StrSplit(line.substr(0, brace), ' ', absl::SkipEmpty());
    const std::string json(brace == absl::string_view::npos ? "" : line.substr(brace));
    if (words.at(0) == "config") {
      recording.config = json;
    } else if (words.at(0) == "hash") {
      recording.hash = words.at(1);
    } else {
      recording.lines.push_back(
          {absl::Nanoseconds(std::stoll(words.at(0))), words.at(1), words.at(2), {words.begin() + 3, words.end()}, json});
    }
  }
  EXPECT_FALSE(recording.lines.empty()) << path;
  EXPECT_FALSE(recording.hash.empty()) << path << " is cut short";
  return recording;
}

// Nothing in a recording is ever taken out of the protocol: a field that is not known any more fails the test.
template <typename Message>
Message FromJson(const std::string& json) {
  Message message;
  const auto parsed = google::protobuf::util::JsonStringToMessage(json, &message);
  EXPECT_TRUE(parsed.ok()) << parsed.ToString() << ": " << json;
  return message;
}

inline std::string FromBase64(const std::string& text) {
  std::string bytes;
  EXPECT_TRUE(absl::Base64Unescape(text, &bytes)) << text;
  return bytes;
}

// Clears the field at a path of single messages: "welcome.unix_ms".
inline void ClearPath(google::protobuf::Message& message, absl::string_view path) {
  const std::vector<std::string> names = absl::StrSplit(path, '.');
  google::protobuf::Message* at = &message;
  for (size_t i = 0; i < names.size(); ++i) {
    const auto* const field = at->GetDescriptor()->FindFieldByName(names[i]);
    ASSERT_NE(field, nullptr) << path;
    if (i + 1 == names.size()) {
      at->GetReflection()->ClearField(at, field);
    } else if (at->GetReflection()->HasField(*at, field)) {
      at = at->GetReflection()->MutableMessage(at, field);
    } else {
      return;
    }
  }
}

// As text, without what two releases may say differently.
template <typename Message>
std::string Comparable(Message message, const std::vector<std::string>& differing) {
  for (const std::string& path : differing) {
    ClearPath(message, path);
  }
  return RecordedJson(message);
}

// The recordings' folders: one for each release and kind of run.
inline std::vector<std::string> Recordings() {
  std::vector<std::string> folders;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(TRIBUTARY_RECORDINGS)) {
    if (entry.path().filename() == "coordinator.conversation") {
      folders.push_back(entry.path().parent_path().string());
    }
  }
  std::sort(folders.begin(), folders.end());
  EXPECT_FALSE(folders.empty());
  return folders;
}

// "0_1_0_distro".
inline std::string NameOfRecording(const ::testing::TestParamInfo<std::string>& info) {
  const std::filesystem::path folder(info.param);
  std::string name = absl::StrCat(folder.parent_path().filename().string(), "_", folder.filename().string());
  for (char& c : name) {
    if (!absl::ascii_isalnum(c)) {
      c = '_';
    }
  }
  return name;
}

}  // namespace tributary::sim

#endif  // TRIBUTARY_TESTS_COMPAT_RECORDING_READER_H_
