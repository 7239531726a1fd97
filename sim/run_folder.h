// What `tributary-sim RUN` reads: a run file, and a folder with one sub-folder of data for each site.
#ifndef TRIBUTARY_SIM_RUN_FOLDER_H_
#define TRIBUTARY_SIM_RUN_FOLDER_H_

#include <string>

#include "absl/status/status.h"
#include "sim/research.h"

namespace tributary::sim {

struct RunFolder {
  std::string run_file;
  std::string data_folder;  // empty: `data` beside the run file
  int workers = 0;          // 0: every sub-folder of the data folder is a site
};

// Fills in the run and its sites; a file of initial weights lies beside the run's. InvalidArgument names the key; exit code kData: there
// are no such sites.
absl::Status ReadRunFolder(const RunFolder& folder, ResearchOptions* options);

}  // namespace tributary::sim

#endif  // TRIBUTARY_SIM_RUN_FOLDER_H_
