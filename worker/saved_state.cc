#include "worker/saved_state.h"

#include <sys/stat.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "common/bytes.h"
#include "common/status_macros.h"
#include "optim/sealed_state.h"

namespace tributary::worker {
namespace {

constexpr absl::string_view kKind = "worker";
constexpr absl::string_view kSuffix = ".state";
// Empty; its time is when the state was first found unused for long.
constexpr absl::string_view kUnusedSuffix = ".unused";
// Against reading something else without end; no model comes near.
constexpr uint64_t kMaxBytes = uint64_t{1} << 42;
constexpr absl::Duration kUnusedAfter = absl::Hours(30 * 24);
constexpr size_t kMostRuns = 16;

std::string FileOf(absl::string_view run_id) {
  return absl::StrCat(run_id, kSuffix);
}

std::string UnusedMarkOf(absl::string_view run_id) {
  return absl::StrCat(run_id, kUnusedSuffix);
}

// InfiniteFuture: not known, as in a store that is not a folder.
absl::Time WrittenAt(absl::string_view name, const FileStore& store) {
  struct stat info;
  return stat(store.PathOf(name).c_str(), &info) == 0 ? absl::TimeFromTimespec(info.st_mtim) : absl::InfiniteFuture();
}

// InfinitePast: neither copy nor log is there.
absl::Time SavedAt(absl::string_view run_id, const FileStore& store) {
  absl::Time saved = absl::InfinitePast();
  for (const std::string& name : {FileOf(run_id), absl::StrCat(run_id, kSentSuffix)}) {
    if (store.Exists(name)) {
      saved = std::max(saved, WrittenAt(name, store));
    }
  }
  return saved;
}

// Takes integers and fields off a body. After one that is not there, all are empty and ok() is false.
class Reader {
 public:
  explicit Reader(absl::string_view bytes) : bytes_(bytes) {}

  template <typename T>
  T Integer() {
    T value{};
    ok_ = ok_ && bytes_.Read(value);
    return value;
  }
  template <typename Length>
  absl::string_view Field() {
    absl::string_view field;
    ok_ = ok_ && bytes_.ReadField<Length>(field);
    return field;
  }
  absl::string_view rest() const { return ok_ ? bytes_.rest() : ""; }
  bool ok() const { return ok_; }

 private:
  ByteReader bytes_;
  bool ok_ = true;
};

absl::StatusOr<SavedState> Decode(const StateOwner& owner, absl::string_view bytes) {
  TRIBUTARY_ASSIGN_OR_RETURN(const absl::string_view body, optim::OpenState(kKind, *owner.layout, bytes));
  Reader reader(body);
  const absl::string_view run_id = reader.Field<uint32_t>();
  const absl::string_view site = reader.Field<uint32_t>();
  if (reader.ok() && (run_id != owner.run_id || site != owner.site)) {
    return absl::DataLossError(
        absl::StrCat("it belongs to run ", run_id, " at site ", site, ", not to run ", owner.run_id, " at ", owner.site));
  }
  SavedState state;
  state.round = reader.Integer<uint64_t>();
  const auto has_pending = reader.Integer<uint8_t>();
  if (has_pending != 0) {
    PendingUpdate& pending = state.pending.emplace();
    pending.round = state.round;
    pending.base_hash = std::string(reader.Field<uint64_t>());
    pending.update.payload = std::make_shared<const std::string>(reader.Field<uint64_t>());
    pending.update.sha256 = std::string(reader.Field<uint64_t>());
    const absl::string_view report = reader.Field<uint64_t>();
    if (!pending.update.report.ParseFromArray(report.data(), static_cast<int>(report.size()))) {
      return absl::DataLossError("its report cannot be read");
    }
  }
  state.encoder = std::string(reader.Field<uint64_t>());
  state.trainer = std::string(reader.rest());
  if (!reader.ok() || has_pending > 1) {
    return absl::DataLossError("its fields do not fit its length");
  }
  return state;
}

}  // namespace

absl::Status WriteSavedState(const StateOwner& owner, const SavedState& state, FileStore& store) {
  std::string head;
  AppendField<uint32_t>(owner.run_id, head);
  AppendField<uint32_t>(owner.site, head);
  AppendLittleEndian(state.round, head);
  AppendLittleEndian(static_cast<uint8_t>(state.pending.has_value() ? 1 : 0), head);
  if (state.pending.has_value()) {
    const TrainedUpdate& update = state.pending->update;
    AppendField<uint64_t>(state.pending->base_hash, head);
    AppendField<uint64_t>(*update.payload, head);
    AppendField<uint64_t>(update.sha256, head);
    AppendField<uint64_t>(update.report.SerializeAsString(), head);
  }
  AppendLittleEndian(static_cast<uint64_t>(state.encoder.size()), head);
  return store.Write(FileOf(owner.run_id), optim::SealState(kKind, *owner.layout, {head, state.encoder, state.trainer}));
}

absl::StatusOr<SavedState> ReadSavedState(const StateOwner& owner, const FileStore& store) {
  TRIBUTARY_ASSIGN_OR_RETURN(const std::string bytes, store.Read(FileOf(owner.run_id), kMaxBytes));
  return Decode(owner, bytes);
}

absl::StatusOr<std::string> SetSavedStateAside(const std::string& run_id, FileStore& store) {
  const std::string name = FileOf(run_id);
  const std::string aside = absl::StrCat(name, ".damaged");
  TRIBUTARY_ASSIGN_OR_RETURN(const std::string bytes, store.Read(name, kMaxBytes));
  TRIBUTARY_RETURN_IF_ERROR(store.Write(aside, bytes));
  TRIBUTARY_RETURN_IF_ERROR(store.Remove(name));
  return store.PathOf(aside);
}

absl::Status RemoveSavedState(const std::string& run_id, FileStore& store) {
  TRIBUTARY_RETURN_IF_ERROR(store.Remove(FileOf(run_id)));
  TRIBUTARY_RETURN_IF_ERROR(store.Remove(absl::StrCat(run_id, kSentSuffix)));
  return store.Remove(UnusedMarkOf(run_id));
}

absl::StatusOr<std::vector<std::string>> SavedRuns(const FileStore& store) {
  TRIBUTARY_ASSIGN_OR_RETURN(const std::vector<std::string> names, store.Names());
  std::vector<std::string> runs;
  for (absl::string_view name : names) {
    if (absl::ConsumeSuffix(&name, kSuffix) || absl::ConsumeSuffix(&name, kSentSuffix)) {
      runs.emplace_back(name);
    }
  }
  std::sort(runs.begin(), runs.end());
  runs.erase(std::unique(runs.begin(), runs.end()), runs.end());
  std::stable_sort(runs.begin(), runs.end(),
                   [&store](const std::string& a, const std::string& b) { return SavedAt(a, store) < SavedAt(b, store); });
  return runs;
}

absl::StatusOr<std::vector<std::string>> RemoveAbandonedStates(const std::string& current_run, absl::Time now, FileStore& store) {
  TRIBUTARY_ASSIGN_OR_RETURN(const std::vector<std::string> runs, SavedRuns(store));
  std::vector<std::string> removed;
  for (size_t i = 0; i < runs.size(); ++i) {
    const std::string& run = runs[i];
    const std::string mark = UnusedMarkOf(run);
    if (run != current_run && runs.size() - i > kMostRuns) {
      TRIBUTARY_RETURN_IF_ERROR(RemoveSavedState(run, store));
      removed.push_back(run);
    } else if (run == current_run || now - SavedAt(run, store) <= kUnusedAfter) {
      TRIBUTARY_RETURN_IF_ERROR(store.Remove(mark));
    } else if (!store.Exists(mark)) {
      TRIBUTARY_RETURN_IF_ERROR(store.Write(mark, ""));
    } else if (now - WrittenAt(mark, store) > kUnusedAfter) {
      TRIBUTARY_RETURN_IF_ERROR(RemoveSavedState(run, store));
      removed.push_back(run);
    }
  }
  return removed;
}

}  // namespace tributary::worker
