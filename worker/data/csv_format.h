// How a site's tables are written, as far as its worker.yaml says it (v1.CsvConfig). What is absent is found out from each file.
#ifndef TRIBUTARY_WORKER_DATA_CSV_FORMAT_H_
#define TRIBUTARY_WORKER_DATA_CSV_FORMAT_H_

#include <optional>
#include <string>
#include <vector>

#include "worker/data/text_encoding.h"

namespace tributary::worker {

struct CsvFormat {
  // A column's name at this site, and the run's for it.
  struct Rename {
    std::string theirs;
    std::string ours;
  };

  std::optional<char> separator;
  std::optional<char> decimal;  // '.' or ','
  std::optional<Encoding> encoding;
  std::vector<Rename> rename;
  std::vector<std::string> missing;  // words besides the empty field
};

}  // namespace tributary::worker

#endif  // TRIBUTARY_WORKER_DATA_CSV_FORMAT_H_
