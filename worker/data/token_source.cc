// Numbers of tokens, as training programs keep them once a tokenizer has read the text.
#include <algorithm>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "common/bytes.h"
#include "common/files.h"
#include "common/format_bytes.h"
#include "common/status_macros.h"
#include "worker/data/data_source.h"
#include "worker/data/folder.h"
#include "worker/data/window_source.h"
#include "worker/refusal.h"

namespace tributary::worker {
namespace {

// What llm.c writes before the tokens: 256 integers, the first of which are a magic number, a version, and how many tokens follow.
// (llm.c, dev/data/data_common.py.) nanoGPT writes nothing before them.
constexpr uint64_t kHeaderBytes = 1024;
struct HeaderKind {
  int32_t magic;
  int32_t version;
  uint64_t token_bytes;
};
constexpr HeaderKind kHeaders[] = {{20240520, 1, 2}, {20240801, 7, 4}};

struct TokenFile {
  std::string path;
  uint64_t start = 0;  // of the tokens, in bytes
  uint64_t tokens = 0;
  uint64_t held_out = 0;  // the last of them
};

// Where the tokens of `file` begin: behind a header, if it has one.
absl::Status ReadHeader(uint64_t bytes, uint64_t token_bytes, TokenFile& file) {
  int32_t header[3] = {};
  if (bytes >= kHeaderBytes) {
    TRIBUTARY_RETURN_IF_ERROR(ReadFilePart(file.path, 0, sizeof(header), reinterpret_cast<char*>(header)));
  }
  const auto* const kind =
      std::find_if(std::begin(kHeaders), std::end(kHeaders), [&](const HeaderKind& known) { return known.magic == header[0]; });
  if (kind != std::end(kHeaders) && kind->version != header[1]) {
    return DataError(absl::StrCat(file.path, ": its header has the magic number ", header[0], " and version ", header[1],
                                  "; of this kind, version ", kind->version,
                                  " is read: write the file in that version, or without a header"));
  }
  file.start = kind == std::end(kHeaders) ? 0 : kHeaderBytes;
  file.tokens = (bytes - file.start) / token_bytes;
  if (kind != std::end(kHeaders) && kind->token_bytes != token_bytes) {
    return WithRefusal(
        DataError(absl::StrCat(file.path, ": its header says that a token has ", kind->token_bytes,
                               " bytes, and the run's data.token_bytes is ", token_bytes)),
        absl::StrCat("the site's tokens have ", kind->token_bytes, " bytes each (the run's data.token_bytes is ", token_bytes, ")"));
  }
  if (kind != std::end(kHeaders) && (header[2] < 0 || static_cast<uint64_t>(header[2]) * token_bytes != bytes - kHeaderBytes)) {
    return DataError(absl::StrCat(file.path, ": its header says that ", header[2], " tokens follow, and ", bytes - kHeaderBytes,
                                  " bytes do: the file is damaged or cut; write it again"));
  }
  if (bytes % token_bytes != 0) {
    return DataError(absl::StrCat(file.path, ": ", bytes, " bytes are no whole number of tokens of ", token_bytes,
                                  " bytes (the run's data.token_bytes): is the file cut, or of another kind?"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<TokenFile>> Examine(const DataFiles& found, const DataOptions& options, uint64_t token_bytes) {
  std::vector<TokenFile> files;
  uint64_t budget = kMaxDataBytes;
  for (const std::string& path : found.files) {
    TokenFile& file = files.emplace_back();
    file.path = path;
    const absl::StatusOr<uint64_t> bytes = FileSize(path);
    if (!bytes.ok()) {
      return DataError(bytes.status().message());
    }
    if (*bytes > budget) {
      return DataError(absl::StrCat(path, ": the data folder holds more than ", kMaxDataBytes >> 20,
                                    " MiB, which are kept in memory: move part of it elsewhere"));
    }
    budget -= *bytes;
    TRIBUTARY_RETURN_IF_ERROR(ReadHeader(*bytes, token_bytes, file));
    file.held_out = static_cast<uint64_t>(static_cast<double>(file.tokens) * options.validation_fraction);
  }
  return files;
}

// Adds the tokens [first, first + count) of `file` to `tokens`, each below the model's vocabulary.
template <typename Token>
absl::Status ReadTokens(const TokenFile& file, uint64_t first, uint64_t count, const TokenOptions& options, std::vector<Token>& tokens) {
  const size_t before = tokens.size();
  tokens.resize(before + count);
  const absl::Status read =
      ReadFilePart(file.path, file.start + first * sizeof(Token), count * sizeof(Token), reinterpret_cast<char*>(tokens.data() + before));
  if (!read.ok()) {
    return DataError(read.message());
  }
  const auto added = tokens.begin() + static_cast<ptrdiff_t>(before);
  const auto bad = std::find_if(added, tokens.end(), [&](Token token) { return int64_t{token} >= options.vocabulary; });
  if (bad == tokens.end()) {
    return absl::OkStatus();
  }
  const uint64_t place = first + static_cast<uint64_t>(bad - added);
  return WithRefusal(
      DataError(absl::StrCat(file.path, ": token ", place, " (at byte ", file.start + place * sizeof(Token), ") is ", *bad,
                             ", and the run's model knows 0 to ", options.vocabulary - 1,
                             " (its vocab_size): were the files made with the tokenizer of this model, and with data.token_bytes, ",
                             sizeof(Token), ", bytes a token?")),
      absl::StrCat("the site's tokens are not all below the run's vocab_size, ", options.vocabulary,
                   ": were they made with another tokenizer, or with other than ", sizeof(Token), " bytes a token (data.token_bytes)?"));
}

absl::Status CheckLength(absl::string_view split, uint64_t tokens, const DataOptions& options, int64_t context) {
  if (tokens > static_cast<uint64_t>(context)) {
    return absl::OkStatus();
  }
  return WithRefusal(
      DataError(absl::StrCat("data folder ", options.folder, ": too few tokens: ", tokens, " for ", split, " (validation_fraction is ",
                             options.validation_fraction, "), and one sample takes ", context + 1,
                             ": add data, or ask for a run with a shorter context or another validation_fraction")),
      absl::StrCat("too few tokens for ", split, ": one sample takes ", context + 1, " (the run's context is ", context,
                   ", its validation_fraction ", options.validation_fraction, ")"));
}

template <typename Token>
absl::StatusOr<std::unique_ptr<DataSource>> Make(const DataOptions& options, const TokenOptions& tokens) {
  TRIBUTARY_ASSIGN_OR_RETURN(const DataFiles found, ListDataFiles(options.folder, ".bin"));
  TRIBUTARY_ASSIGN_OR_RETURN(const std::vector<TokenFile> files, Examine(found, options, sizeof(Token)));
  uint64_t held_out = 0;
  uint64_t all = 0;
  for (const TokenFile& file : files) {
    held_out += file.held_out;
    all += file.tokens;
  }
  TRIBUTARY_RETURN_IF_ERROR(CheckLength("training", all - held_out, options, tokens.context));
  TRIBUTARY_RETURN_IF_ERROR(CheckLength("validation", held_out, options, tokens.context));
  std::vector<Token> training, validation;
  training.reserve(all - held_out);
  validation.reserve(held_out);
  for (const TokenFile& file : files) {
    const uint64_t kept = file.tokens - file.held_out;
    TRIBUTARY_RETURN_IF_ERROR(ReadTokens(file, 0, kept, tokens, training));
    TRIBUTARY_RETURN_IF_ERROR(ReadTokens(file, kept, file.held_out, tokens, validation));
  }
  DataDescription description{absl::StrCat(files.size(), files.size() == 1 ? " file, " : " files, ", all, " tokens (", training.size(),
                                           " for training, ", validation.size(), " for validation)", DescribeLeftOut(found)),
                              ""};
  return std::make_unique<WindowSource<std::vector<Token>>>(std::move(training), std::move(validation),
                                                            static_cast<uint64_t>(tokens.context), static_cast<size_t>(tokens.vocabulary),
                                                            options, std::move(description));
}

}  // namespace

absl::StatusOr<std::unique_ptr<DataSource>> MakeTokenSource(const DataOptions& options, const TokenOptions& tokens) {
  switch (tokens.token_bytes) {
    case sizeof(uint16_t):
      return Make<uint16_t>(options, tokens);
    case sizeof(uint32_t):
      return Make<uint32_t>(options, tokens);
    default:
      return absl::InvalidArgumentError(absl::StrCat("token_bytes is ", tokens.token_bytes, ", not 2 or 4"));
  }
}

}  // namespace tributary::worker
