#include "coordinator/metrics.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <map>
#include <mutex>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/optional_gauge.h"
#include "common/resource_gauges.h"
#include "coordinator/metric_labels.h"
#include "coordinator/run_series.h"
#include "optim/metric_kind.h"
#include "prometheus/counter.h"
#include "prometheus/gauge.h"
#include "prometheus/histogram.h"
#include "prometheus/registry.h"
#include "prometheus/summary.h"
#include "prometheus/text_serializer.h"

namespace tributary::coordinator {
namespace {

using prometheus::Counter;
using prometheus::Gauge;
using prometheus::Histogram;

template <size_t N, typename Metric>
using Children = std::array<Metric*, N>;

// One child for each value of one label.
template <typename Metric, size_t N, typename... Args>
Children<N, Metric> AddChildren(prometheus::Family<Metric>& family, const char* label, const std::array<const char*, N>& values,
                                const Args&... args) {
  Children<N, Metric> children{};
  for (size_t i = 0; i < N; ++i) {
    children[i] = &family.Add({{label, values[i]}}, args...);
  }
  return children;
}

template <typename Enum>
size_t Index(Enum value) {
  return static_cast<size_t>(value);
}

}  // namespace

struct CoordinatorMetrics::State {
  struct Site {
    SiteState state = SiteState::kAway;
    Gauge* up;
    Children<kSiteStates.size(), Gauge> states;
    std::unique_ptr<OptionalGauge> last_seen;
    std::unique_ptr<OptionalGauge> certificate_expiry;
    Children<kUpdateResults.size(), Counter> updates;
    Counter *bounded, *conflicts, *benched, *over_rate;
    prometheus::Summary* arrival;
    std::array<Children<kByteKindLabels.size(), Counter>, kByteDirectionLabels.size()> bytes;
  };

  State(const std::vector<std::string>& names, const std::string& data_dir);

  // Does `what` with the site's series, if it has any.
  template <typename What>
  void With(absl::string_view name, What what) {
    const std::lock_guard<std::mutex> lock(sites_mutex);
    if (const auto found = sites.find(name); found != sites.end()) {
      what(found->second);
    }
  }
  // Does `what` with the run's series, if it has any.
  template <typename What>
  void WithRun(const std::string& name, What what) {
    const std::lock_guard<std::mutex> lock(runs_mutex);
    if (const auto found = runs_shown.find(name); found != runs_shown.end()) {
      what(found->second);
    }
  }
  void BeginRun(const std::string& name);
  void ForecastDisk();  // runs_mutex is held
  void SetSites(const std::vector<std::string>& names);
  Site AddSite(const std::string& name);
  void Remove(Site& site);
  void CountSessions();  // sites_mutex is held

  template <typename Builder>
  auto& Make(Builder builder, const char* name, const char* help) {
    return builder.Name(name).Help(help).Register(registry);
  }
  prometheus::Family<Gauge>& MakeGauge(const char* name, const char* help) { return Make(prometheus::BuildGauge(), name, help); }
  prometheus::Family<Counter>& MakeCounter(const char* name, const char* help) { return Make(prometheus::BuildCounter(), name, help); }
  prometheus::Family<Histogram>& MakeHistogram(const char* name, const char* help) {
    return Make(prometheus::BuildHistogram(), name, help);
  }

  prometheus::Registry registry;
  ResourceGauges resources;
  prometheus::Family<Gauge>& run_info = MakeGauge("tributary_run_info", "Always 1; the labels are name and state of a run");
  prometheus::Family<Gauge>& run_round = MakeGauge("tributary_round", "Last committed round of a run");
  prometheus::Family<Gauge>& run_ratio =
      MakeGauge("tributary_compression_ratio", "Dense bytes over bytes moved, both directions, newest round of a run");
  prometheus::Family<Gauge>& run_loss = MakeGauge("tributary_loss", "Mean loss over the sites of a run that reported, nats");
  prometheus::Family<Gauge>& run_metric =
      MakeGauge("tributary_validation_metric", "Metric of a run on the validation splits, mean over the sites that reported");
  prometheus::Family<Gauge>& run_site = MakeGauge("tributary_run_site", "Always 1; the labels are a run and a site that belongs to it");
  std::mutex runs_mutex;
  std::map<std::string, RunSeries> runs_shown;  // by name, under runs_mutex: those in progress, and those that have ended since one began
  OptionalGauge snapshot_time{MakeGauge("tributary_snapshot_timestamp_seconds", "When the newest snapshot was written")};
  Children<kRunOutcomes.size(), Counter> runs;
  Children<kOutcomes.size(), Counter> rounds;
  Histogram* round_duration;
  Children<kPhases.size(), Histogram> phases;
  Children<kSiteStates.size(), Gauge> sessions{};  // none for kAway: that is no session
  Children<kReasons.size(), Counter> rejections;
  Counter* steps;
  Children<kByteDirectionLabels.size(), Histogram> bytes_per_step;
  Children<kByteDirectionLabels.size(), Counter> dense_bytes;
  Histogram* journal_fsync;
  Gauge* disk_forecast;
  Counter* hash_mismatches;
  prometheus::Family<Gauge>& certificate_expiry =
      MakeGauge("tributary_certificate_expiry_timestamp_seconds",
                "When a certificate stops being accepted: the coordinator's, and each site's as it connected last");
  OptionalGauge own_certificate_expiry{certificate_expiry, {{"party", "coordinator"}}};
  Gauge* certificate_files_refused;
  Gauge* connections;
  Children<kConnectionRefusals.size(), Counter> connections_refused{};
  Children<kCallRefusals.size(), Counter> calls_refused{};

  prometheus::Family<Gauge>& site_up = MakeGauge("tributary_site_up", "1 while the site has a session");
  prometheus::Family<Gauge>& site_state = MakeGauge("tributary_site_state", "1 for the state that the site is in, 0 for the others");
  prometheus::Family<prometheus::Summary>& site_arrival = prometheus::BuildSummary()
                                                              .Name("tributary_update_arrival_seconds")
                                                              .Help("Start of a round to the site's accepted update, sum and count")
                                                              .Register(registry);
  prometheus::Family<Gauge>& site_last_seen = MakeGauge("tributary_site_last_seen_timestamp_seconds", "When the site was last heard from");
  prometheus::Family<Counter>& site_conflicts =
      MakeCounter("tributary_session_conflicts_total", "Times that a second worker wanted the session of a site and was refused");
  prometheus::Family<Counter>& site_benched =
      MakeCounter("tributary_benched_total", "Times that a site was benched for leaving rounds unanswered");
  prometheus::Family<Counter>& site_over_rate =
      MakeCounter("tributary_sessions_over_rate_total", "Sessions closed because their site sent more messages than any worker does");
  prometheus::Family<Counter>& site_updates = MakeCounter("tributary_updates_total", "Updates of a site, by result");
  prometheus::Family<Counter>& site_bounded = MakeCounter(
      "tributary_updates_bounded_total", "Updates of a site that were scaled down to the bound on norms, or left out of the sum");
  prometheus::Family<Counter>& site_bytes =
      MakeCounter("tributary_bytes_total",
                  "Bytes moved between coordinator and site, with gRPC, HTTP/2 and TLS framing; up is towards the coordinator");
  std::mutex sites_mutex;
  std::map<std::string, Site, std::less<>> sites;  // under sites_mutex
};

CoordinatorMetrics::State::State(const std::vector<std::string>& names, const std::string& data_dir)
    : resources({.disk_free = "tributary_disk_free_bytes",
                 .memory_resident = "tributary_memory_resident_bytes",
                 .memory_limit = "tributary_memory_limit_bytes"},
                data_dir, registry) {
  runs = AddChildren(MakeCounter("tributary_runs_total", "Runs ended, by outcome"), "outcome", kRunOutcomes);
  rounds = AddChildren(MakeCounter("tributary_rounds_total", "Rounds ended, by outcome"), "outcome", kOutcomes);
  round_duration = &MakeHistogram("tributary_round_duration_seconds", "Start of a round to its commit").Add({}, RoundBuckets());
  phases = AddChildren(MakeHistogram("tributary_round_phase_seconds", "Time of a round, by phase"), "phase", kPhases, PhaseBuckets());
  auto& open_sessions = MakeGauge("tributary_sessions", "Open sessions, by state");
  for (size_t i = Index(SiteState::kAway) + 1; i < kSiteStates.size(); ++i) {
    sessions[i] = &open_sessions.Add({{"state", kSiteStates[i]}});
  }
  rejections =
      AddChildren(MakeCounter("tributary_update_rejections_total", "Updates rejected, by the check that failed"), "reason", kReasons);
  steps = &MakeCounter("tributary_steps_total", "Local steps in committed rounds, over all members").Add({});
  bytes_per_step =
      AddChildren(MakeHistogram("tributary_bytes_per_step", "Bytes on the wire per member and local step of a round, all kinds"),
                  "direction", kByteDirectionLabels, ByteBuckets());
  dense_bytes =
      AddChildren(MakeCounter("tributary_dense_equivalent_bytes_total", "Bytes that fp32 gradients of the same steps would have moved"),
                  "direction", kByteDirectionLabels);
  journal_fsync = &MakeHistogram("tributary_journal_fsync_seconds", "Time of one durable write of the journal").Add({}, FsyncBuckets());
  disk_forecast =
      &MakeGauge("tributary_disk_forecast_bytes", "The most that the runs in progress may still add to the data folder").Add({});
  hash_mismatches =
      &MakeCounter("tributary_replica_hash_mismatches_total", "Replicas whose state hash differed from the coordinator's").Add({});
  certificate_files_refused = &MakeGauge("tributary_certificate_files_refused",
                                         "1 while the coordinator's certificate files are not good, and what it read before is in use")
                                   .Add({});
  connections = &MakeGauge("tributary_connections", "Connections open, of workers and operators").Add({});
  connections_refused =
      AddChildren(MakeCounter("tributary_connections_refused_total", "Connections turned away or cut off"), "reason", kConnectionRefusals);
  calls_refused = AddChildren(MakeCounter("tributary_calls_refused_total", "Calls refused for who made them"), "reason", kCallRefusals);
  MakeGauge("tributary_build_info", "Always 1; the labels say what runs")
      .Add({{"program", "tributary-coordinator"}, {"version", TRIBUTARY_VERSION}})
      .Set(1);
  SetSites(names);
}

CoordinatorMetrics::State::Site CoordinatorMetrics::State::AddSite(const std::string& name) {
  Site site;
  site.up = &site_up.Add({{"site", name}});
  for (size_t i = 0; i < kSiteStates.size(); ++i) {
    site.states[i] = &site_state.Add({{"site", name}, {"state", kSiteStates[i]}});
  }
  site.states[Index(site.state)]->Set(1);
  site.arrival = &site_arrival.Add({{"site", name}}, prometheus::Summary::Quantiles{});
  site.last_seen = std::make_unique<OptionalGauge>(site_last_seen, prometheus::Labels{{"site", name}});
  site.certificate_expiry = std::make_unique<OptionalGauge>(certificate_expiry, prometheus::Labels{{"party", absl::StrCat("site/", name)}});
  site.bounded = &site_bounded.Add({{"site", name}});
  site.conflicts = &site_conflicts.Add({{"site", name}});
  site.over_rate = &site_over_rate.Add({{"site", name}});
  site.benched = &site_benched.Add({{"site", name}});
  for (size_t i = 0; i < kUpdateResults.size(); ++i) {
    site.updates[i] = &site_updates.Add({{"site", name}, {"result", kUpdateResults[i]}});
  }
  for (size_t direction = 0; direction < kByteDirectionLabels.size(); ++direction) {
    for (size_t kind = 0; kind < kByteKindLabels.size(); ++kind) {
      site.bytes[direction][kind] =
          &site_bytes.Add({{"site", name}, {"direction", kByteDirectionLabels[direction]}, {"kind", kByteKindLabels[kind]}});
    }
  }
  return site;
}

void CoordinatorMetrics::State::BeginRun(const std::string& name) {
  const std::lock_guard<std::mutex> lock(runs_mutex);
  for (auto run = runs_shown.begin(); run != runs_shown.end();) {
    if (run->second.over || run->first == name) {
      run->second.Clear();
      run = runs_shown.erase(run);
    } else {
      ++run;
    }
  }
  runs_shown.try_emplace(name, RunFamilies{run_info, run_round, run_ratio, run_loss, run_metric}, name);
}

void CoordinatorMetrics::State::ForecastDisk() {
  uint64_t bytes = 0;
  for (const auto& [name, run] : runs_shown) {
    bytes += run.over ? 0 : run.disk_forecast;
  }
  disk_forecast->Set(static_cast<double>(bytes));
}

void CoordinatorMetrics::State::Remove(Site& site) {
  site_up.Remove(site.up);
  for (Gauge* const state : site.states) {
    site_state.Remove(state);
  }
  site_arrival.Remove(site.arrival);
  site.last_seen->Clear();
  site.certificate_expiry->Clear();
  site_bounded.Remove(site.bounded);
  site_conflicts.Remove(site.conflicts);
  site_benched.Remove(site.benched);
  site_over_rate.Remove(site.over_rate);
  for (Counter* const counter : site.updates) {
    site_updates.Remove(counter);
  }
  for (const auto& direction : site.bytes) {
    for (Counter* const counter : direction) {
      site_bytes.Remove(counter);
    }
  }
}

void CoordinatorMetrics::State::CountSessions() {
  std::array<int, kSiteStates.size()> counts{};
  for (const auto& [name, site] : sites) {
    ++counts[Index(site.state)];
  }
  for (size_t i = Index(SiteState::kAway) + 1; i < counts.size(); ++i) {
    sessions[i]->Set(counts[i]);
  }
}

void CoordinatorMetrics::State::SetSites(const std::vector<std::string>& names) {
  const std::lock_guard<std::mutex> lock(sites_mutex);
  for (auto site = sites.begin(); site != sites.end();) {
    if (std::find(names.begin(), names.end(), site->first) != names.end()) {
      ++site;
    } else {
      Remove(site->second);
      site = sites.erase(site);
    }
  }
  for (const std::string& name : names) {
    if (!sites.contains(name)) {
      sites.emplace(name, AddSite(name));
    }
  }
  CountSessions();
}

CoordinatorMetrics::CoordinatorMetrics(const std::vector<std::string>& sites, const std::string& data_dir)
    : state_(std::make_unique<State>(sites, data_dir)) {}

void CoordinatorMetrics::SetSites(const std::vector<std::string>& sites) {
  state_->SetSites(sites);
}

CoordinatorMetrics& CoordinatorMetrics::None() {
  static CoordinatorMetrics* const metrics = new CoordinatorMetrics({});
  return *metrics;
}

CoordinatorMetrics::~CoordinatorMetrics() = default;

std::string CoordinatorMetrics::Text() const {
  state_->resources.Refresh();
  return prometheus::TextSerializer().Serialize(state_->registry.Collect());
}

void CoordinatorMetrics::BeginRun(const std::string& run) {
  state_->BeginRun(run);
}

void CoordinatorMetrics::SetRun(const std::string& run, const std::string& state) {
  state_->WithRun(run, [&](RunSeries& found) {
    found.info->Set(1, {{"run", run}, {"state", state}});
    found.over = std::find(kRunOutcomes.begin(), kRunOutcomes.end(), state) != kRunOutcomes.end();
    state_->ForecastDisk();
  });
}

void CoordinatorMetrics::SetRunSites(const std::string& run, const std::vector<std::string>& sites) {
  state_->WithRun(run, [&](RunSeries& found) {
    std::map<std::string, std::unique_ptr<OptionalGauge>> before = std::exchange(found.sites, {});
    for (const std::string& site : sites) {
      auto gauge = before.extract(site);
      if (gauge.empty()) {
        found.sites[site] = std::make_unique<OptionalGauge>(state_->run_site, prometheus::Labels{{"run", run}, {"site", site}});
        found.sites[site]->Set(1);
      } else {
        found.sites.insert(std::move(gauge));
      }
    }
    for (const auto& [site, gauge] : before) {
      gauge->Clear();
    }
  });
}

void CoordinatorMetrics::RunEnded(RunOutcome outcome) {
  state_->runs[Index(outcome)]->Increment();
}

void CoordinatorMetrics::SetRound(const std::string& run, uint64_t round) {
  state_->WithRun(run, [&](RunSeries& found) { found.round->Set(static_cast<double>(round)); });
}

void CoordinatorMetrics::RoundEnded(RoundOutcome outcome, absl::Duration duration) {
  state_->rounds[Index(outcome)]->Increment();
  if (outcome != RoundOutcome::kFailed) {
    state_->round_duration->Observe(absl::ToDoubleSeconds(duration));
  }
}

void CoordinatorMetrics::ObservePhase(RoundPhase phase, absl::Duration duration) {
  state_->phases[Index(phase)]->Observe(absl::ToDoubleSeconds(duration));
}

void CoordinatorMetrics::SetSiteStates(const std::map<std::string, SiteState>& states) {
  const std::lock_guard<std::mutex> lock(state_->sites_mutex);
  for (auto& [name, site] : state_->sites) {
    const auto found = states.find(name);
    site.states[Index(site.state)]->Set(0);
    site.state = found == states.end() ? SiteState::kAway : found->second;
    site.states[Index(site.state)]->Set(1);
    site.up->Set(site.state == SiteState::kAway ? 0 : 1);
  }
  state_->CountSessions();
}

void CoordinatorMetrics::SetSiteLastSeen(absl::string_view site, absl::Time wall_time) {
  state_->With(site, [&](State::Site& found) { found.last_seen->Set(absl::ToDoubleSeconds(wall_time - absl::UnixEpoch())); });
}

void CoordinatorMetrics::CountSessionConflict(absl::string_view site) {
  state_->With(site, [](State::Site& found) { found.conflicts->Increment(); });
}

void CoordinatorMetrics::CountOverRate(absl::string_view site) {
  state_->With(site, [](State::Site& found) { found.over_rate->Increment(); });
}

void CoordinatorMetrics::CountBenched(absl::string_view site) {
  state_->With(site, [](State::Site& found) { found.benched->Increment(); });
}

void CoordinatorMetrics::CountUpdate(absl::string_view site, UpdateResult result) {
  state_->With(site, [&](State::Site& found) { found.updates[Index(result)]->Increment(); });
}

void CoordinatorMetrics::CountRejection(RejectionReason reason) {
  state_->rejections[Index(reason)]->Increment();
}

void CoordinatorMetrics::CountBounded(absl::string_view site) {
  state_->With(site, [](State::Site& found) { found.bounded->Increment(); });
}

void CoordinatorMetrics::ObserveArrival(absl::string_view site, absl::Duration since_start) {
  state_->With(site, [&](State::Site& found) { found.arrival->Observe(absl::ToDoubleSeconds(since_start)); });
}

void CoordinatorMetrics::CountBytes(absl::string_view site, ByteDirection direction, ByteKind kind, uint64_t bytes) {
  state_->With(site, [&](State::Site& found) { found.bytes[Index(direction)][Index(kind)]->Increment(static_cast<double>(bytes)); });
}

void CoordinatorMetrics::CountSteps(uint64_t steps) {
  state_->steps->Increment(static_cast<double>(steps));
}

void CoordinatorMetrics::ObserveBytesPerStep(ByteDirection direction, double bytes) {
  state_->bytes_per_step[Index(direction)]->Observe(bytes);
}

void CoordinatorMetrics::CountDenseEquivalent(uint64_t bytes_per_direction) {
  for (Counter* const counter : state_->dense_bytes) {
    counter->Increment(static_cast<double>(bytes_per_direction));
  }
}

void CoordinatorMetrics::SetCompressionRatio(const std::string& run, double ratio) {
  state_->WithRun(run, [&](RunSeries& found) { found.compression_ratio->Set(ratio); });
}

void CoordinatorMetrics::SetLoss(const std::string& run, LossSplit split, double loss) {
  state_->WithRun(run, [&](RunSeries& found) { found.loss[Index(split)]->Set(loss); });
}

void CoordinatorMetrics::SetValidationMetrics(const std::string& run, const std::map<std::string, double>& metrics) {
  state_->WithRun(run, [&](RunSeries& found) {
    for (size_t i = 0; i < found.metrics.size(); ++i) {
      if (const auto value = metrics.find(std::string(optim::kMetrics[i].name)); value != metrics.end()) {
        found.metrics[i]->Set(value->second);
      } else {
        found.metrics[i]->Clear();
      }
    }
  });
}

void CoordinatorMetrics::ObserveJournalFsync(double seconds) {
  state_->journal_fsync->Observe(seconds);
}

void CoordinatorMetrics::SetSnapshotTime(absl::Time wall_time) {
  state_->snapshot_time.Set(absl::ToDoubleSeconds(wall_time - absl::UnixEpoch()));
}

void CoordinatorMetrics::SetDiskForecast(const std::string& run, uint64_t bytes) {
  state_->WithRun(run, [&](RunSeries& found) {
    found.disk_forecast = bytes;
    state_->ForecastDisk();
  });
}

void CoordinatorMetrics::SetCertificateExpiry(absl::Time wall_time) {
  state_->own_certificate_expiry.Set(absl::ToDoubleSeconds(wall_time - absl::UnixEpoch()));
}

void CoordinatorMetrics::SetSiteCertificateExpiry(absl::string_view site, absl::Time wall_time) {
  state_->With(site, [&](State::Site& found) { found.certificate_expiry->Set(absl::ToDoubleSeconds(wall_time - absl::UnixEpoch())); });
}

void CoordinatorMetrics::SetCertificateFiles(CertificateFilesState state) {
  state_->certificate_files_refused->Set(state == CertificateFilesState::kRefused ? 1 : 0);
}

void CoordinatorMetrics::ConnectionOpened() {
  state_->connections->Increment();
}

void CoordinatorMetrics::ConnectionClosed() {
  state_->connections->Decrement();
}

void CoordinatorMetrics::CountConnectionRefused(ConnectionRefusal why) {
  state_->connections_refused[Index(why)]->Increment();
}

void CoordinatorMetrics::CountCallRefused(CallRefusal why) {
  state_->calls_refused[Index(why)]->Increment();
}

void CoordinatorMetrics::CountHashMismatch() {
  state_->hash_mismatches->Increment();
}

}  // namespace tributary::coordinator
