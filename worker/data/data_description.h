// What a site's data is, as far as it is told: at length to its own people, and as a digest to others.
#ifndef TRIBUTARY_WORKER_DATA_DATA_DESCRIPTION_H_
#define TRIBUTARY_WORKER_DATA_DATA_DESCRIPTION_H_

#include <string>

namespace tributary::worker {

struct DataDescription {
  // For this site's log: "2 files, 1.20 MiB, 569 rows (512 for training, 57 for validation); not read: notes.txt (not .csv)".
  std::string text;
  // SHA-256 of the names of the columns that the model reads, in their order; empty: the data has no columns. Sites of a run whose digests
  // differ would train one weight on different things. It tells nobody the names, but confirms them to who guesses all of them.
  std::string columns_digest;
};

}  // namespace tributary::worker

#endif  // TRIBUTARY_WORKER_DATA_DATA_DESCRIPTION_H_
