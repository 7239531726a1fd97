// Inputs that are kept: tests/fuzz/corpus/TARGET.txt has one a line, escaped as in C (the backslash as \134); a backslash at the end of a
// line goes on with the next. Empty lines and those that begin with # are none.
// What a fuzzer finds goes there, so that the ordinary test tries it for ever.
#ifndef TRIBUTARY_TESTS_FUZZ_CORPUS_H_
#define TRIBUTARY_TESTS_FUZZ_CORPUS_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace tributary::fuzz {

// Of the target; aborts if a line is not escaped as it should be.
std::vector<std::string> CorpusOf(absl::string_view target);

}  // namespace tributary::fuzz

#endif  // TRIBUTARY_TESTS_FUZZ_CORPUS_H_
