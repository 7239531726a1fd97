#include "coordinator/journal/site_table.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace tributary::coordinator {

absl::Status SiteTable::Put(const v1::SiteRecord& site) {
  return sites_.Replace(SiteKey{site.name()}, SiteRow{site});
}

absl::StatusOr<std::vector<v1::SiteRecord>> SiteTable::All() const {
  std::vector<v1::SiteRecord> sites;
  Query rows(database_, sites_.Select("ORDER BY name"));
  while (true) {
    SiteKey key;
    SiteRow row;
    TRIBUTARY_ASSIGN_OR_RETURN(const bool more,
                               sites_.Next(rows, key, row, [&] { return absl::StrCat("site number ", sites.size() + 1); }));
    if (!more) {
      return sites;
    }
    sites.push_back(std::move(row.record));
  }
}

}  // namespace tributary::coordinator
