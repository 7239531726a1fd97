#include "tests/fuzz/corpus.h"

#include <fstream>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "tests/fuzz/must.h"

namespace tributary::fuzz {

std::vector<std::string> CorpusOf(absl::string_view target) {
  std::ifstream file(absl::StrCat(TRIBUTARY_FUZZ_CORPUS, "/", target, ".txt"));
  std::vector<std::string> inputs;
  for (std::string line; std::getline(file, line);) {
    for (std::string more; !line.empty() && line.back() == '\\' && std::getline(file, more);) {
      line.pop_back();
      line += more;
    }
    if (!line.empty() && line[0] != '#') {
      std::string error;
      Must(absl::CUnescape(line, &inputs.emplace_back(), &error), error.c_str());
    }
  }
  return inputs;
}

}  // namespace tributary::fuzz
