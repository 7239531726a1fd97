// The kinds of data that a site may hold, and the shapes of sample that they give: a model learns from every kind that gives its shape.
// docs/recipes.md says how to add one.
#ifndef TRIBUTARY_OPTIM_DATA_KIND_H_
#define TRIBUTARY_OPTIM_DATA_KIND_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <variant>

#include "absl/strings/string_view.h"

namespace tributary::optim {

// One token a byte, in windows of `context` tokens; each is a target for those before it.
struct TextWindows {
  int64_t context = 1;
};

// Windows of `context` numbers of tokens, each below `vocabulary`; each is a target for those before it.
struct TokenWindows {
  int64_t context = 1;
  int64_t vocabulary = 2;
};

// Rows of `inputs` numbers and a label in [0, outputs).
struct TableRows {
  int64_t inputs = 1;
  int64_t outputs = 2;
};

// Rows of `inputs` numbers and one more, to be predicted.
struct ValueRows {
  int64_t inputs = 1;
};

// Images scaled to height x width, and a class in [0, classes); 0 classes: images alone.
struct Images {
  int64_t height = 1;
  int64_t width = 1;
  int64_t channels = 1;
  int64_t classes = 0;
};

// What only the sites' own programs know.
struct OwnSamples {};

using SampleShape = std::variant<TextWindows, TableRows, OwnSamples, TokenWindows, ValueRows, Images>;

enum class DataKind { kText, kCsv, kCustom, kTokens, kImages };

enum class Labels { kNone, kColumn };  // kColumn: `label_column` names it

struct DataTraits {
  DataKind kind;
  absl::string_view name;  // as in run.yaml
  bool (&gives)(const SampleShape& shape);
  Labels labels;
};

template <typename... Shapes>
constexpr bool Gives(const SampleShape& shape) {
  return (std::holds_alternative<Shapes>(shape) || ...);
}

// Bytes are numbers of tokens too, to a model that knows 256 of them.
constexpr bool GivesText(const SampleShape& shape) {
  const auto* const tokens = std::get_if<TokenWindows>(&shape);
  return std::holds_alternative<TextWindows>(shape) || (tokens != nullptr && tokens->vocabulary == 256);
}

// In the order of DataKind, and of DataSpec.Kind in the protocol (proto/config/run_options.cc asserts that they are as many).
inline constexpr auto kDataKinds = std::to_array<DataTraits>({
    {.kind = DataKind::kText, .name = "text", .gives = GivesText, .labels = Labels::kNone},
    {.kind = DataKind::kCsv, .name = "csv", .gives = Gives<TableRows, ValueRows>, .labels = Labels::kColumn},
    {.kind = DataKind::kCustom, .name = "custom", .gives = Gives<OwnSamples>, .labels = Labels::kNone},
    {.kind = DataKind::kTokens, .name = "tokens", .gives = Gives<TokenWindows>, .labels = Labels::kNone},
    {.kind = DataKind::kImages, .name = "images", .gives = Gives<Images>, .labels = Labels::kNone},
});

constexpr const DataTraits& TraitsOf(DataKind kind) {
  return kDataKinds[static_cast<size_t>(kind)];
}
static_assert([] {
  for (size_t i = 0; i < kDataKinds.size(); ++i) {
    if (kDataKinds[i].kind != static_cast<DataKind>(i)) {
      return false;
    }
  }
  return true;
}());

// Tokens in a window of `shape`, which must be one of text or of tokens.
constexpr int64_t ContextOf(const SampleShape& shape) {
  const auto* const tokens = std::get_if<TokenWindows>(&shape);
  return tokens != nullptr ? tokens->context : std::get<TextWindows>(shape).context;
}

}  // namespace tributary::optim

#endif  // TRIBUTARY_OPTIM_DATA_KIND_H_
