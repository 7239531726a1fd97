#include "sim/run_folder.h"

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "common/files.h"
#include "common/names.h"
#include "common/status_macros.h"
#include "proto/config/yaml.h"
#include "worker/data/folder.h"

namespace tributary::sim {
namespace {

// The first `count` sub-folders by name (0: all) are the sites.
absl::StatusOr<std::vector<std::string>> SitesIn(const std::string& folder, int count) {
  std::error_code error;
  std::vector<std::string> sites;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename();
    if (entry.is_directory() && !name.starts_with('.')) {
      sites.push_back(name);
    }
  }
  if (error) {
    return worker::DataError(absl::StrCat("cannot read ", folder, ": ", error.message(), "; name the sites' data with --data DIR"));
  }
  std::sort(sites.begin(), sites.end());
  if (sites.empty() || sites.size() < static_cast<size_t>(count)) {
    return worker::DataError(absl::StrCat(folder, " has ", sites.size(), " sub-folders, one for each site's data; ",
                                          count == 0 ? "at least one is needed" : absl::StrCat("--workers asks for ", count)));
  }
  if (count > 0) {
    sites.resize(count);
  }
  for (const std::string& site : sites) {
    if (!IsName(site)) {
      return worker::DataError(
          absl::StrCat(folder, "/", site, ": the folder's name is the site's: lower-case letters, digits and hyphens"));
    }
  }
  return sites;
}

}  // namespace

absl::Status ReadRunFolder(const RunFolder& folder, ResearchOptions* options) {
  TRIBUTARY_RETURN_IF_ERROR(LoadYaml(folder.run_file, &options->run));
  options->run_name = folder.run_file;
  options->initial_weights_dir = FolderOf(folder.run_file);
  const std::string data =
      folder.data_folder.empty() ? (std::filesystem::path(folder.run_file).parent_path() / "data").string() : folder.data_folder;
  TRIBUTARY_ASSIGN_OR_RETURN(const std::vector<std::string> sites, SitesIn(data, folder.workers));
  for (const std::string& site : sites) {
    options->sites.push_back({site, absl::StrCat(data, "/", site)});
  }
  return absl::OkStatus();
}

}  // namespace tributary::sim
