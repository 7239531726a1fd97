#include "worker/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <array>

#include "common/optional_gauge.h"
#include "common/resource_gauges.h"
#include "common/wire_size.h"

namespace tributary::worker {
namespace {

// In the order of StepPhase.
constexpr std::array<const char*, 9> kPhases = {"compute",  "encode", "persist", "upload",  "settle",
                                                "download", "apply",  "hash",    "evaluate"};

}  // namespace

struct WorkerMetrics::State {
  prometheus::Registry registry;
  std::array<prometheus::Histogram*, kPhases.size()> step_seconds;
  std::array<std::array<prometheus::Counter*, kByteKindLabels.size()>, kByteDirectionLabels.size()> bytes;
  prometheus::Counter* samples;
  prometheus::Counter* included;
  prometheus::Counter* late;
  prometheus::Counter* rejected;
  prometheus::Counter* skipped;
  prometheus::Counter* mismatches;
  prometheus::Gauge* connected;
  prometheus::Family<prometheus::Gauge>& losses = Gauge("tributary_worker_loss", "Newest loss at this site, in nats.");
  OptionalGauge train_loss{losses, {{"split", "train"}}};
  OptionalGauge validation_loss{losses, {{"split", "validation"}}};
  OptionalGauge residual_norm{Gauge("tributary_worker_residual_norm", "L2 norm of the residual: what was learned and not sent yet.")};
  OptionalGauge round{Gauge("tributary_worker_round", "Round of the state that this replica holds.")};
  OptionalGauge run{Gauge("tributary_worker_run_info", "Always 1; the label is the run that this worker takes part in.")};
  OptionalGauge certificate_expiry{
      Gauge("tributary_worker_certificate_expiry_timestamp_seconds", "When this site's certificate stops being accepted.")};
  prometheus::Gauge* certificate_files_refused;
  ResourceGauges resources;

  explicit State(const std::string& state_dir)
      : resources({.disk_free = "tributary_worker_disk_free_bytes",
                   .memory_resident = "tributary_worker_memory_resident_bytes",
                   .memory_limit = "tributary_worker_memory_limit_bytes"},
                  state_dir, registry) {}
  prometheus::Family<prometheus::Gauge>& Gauge(const char* name, const char* help) {
    return prometheus::BuildGauge().Name(name).Help(help).Register(registry);
  }
  prometheus::Counter& Counter(const char* name, const char* help, const prometheus::Labels& labels = {}) {
    return prometheus::BuildCounter().Name(name).Help(help).Register(registry).Add(labels);
  }
};

WorkerMetrics::WorkerMetrics(absl::string_view site, absl::string_view software_version, const std::string& state_dir)
    : state_(std::make_unique<State>(state_dir)) {
  State& state = *state_;
  const prometheus::Histogram::BucketBoundaries seconds = {.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300};
  auto& steps = prometheus::BuildHistogram()
                    .Name("tributary_worker_step_seconds")
                    .Help("Seconds that this worker spent in one phase of one round.")
                    .Register(state.registry);
  for (size_t i = 0; i < kPhases.size(); ++i) {
    state.step_seconds[i] = &steps.Add({{"phase", kPhases[i]}}, seconds);
  }

  auto& bytes = prometheus::BuildCounter()
                    .Name("tributary_worker_bytes_total")
                    .Help("Bytes of messages at the socket, with gRPC, HTTP/2 and TLS framing; up is towards the coordinator.")
                    .Register(state.registry);
  for (size_t d = 0; d < kByteDirectionLabels.size(); ++d) {
    for (size_t k = 0; k < kByteKindLabels.size(); ++k) {
      state.bytes[d][k] = &bytes.Add({{"direction", kByteDirectionLabels[d]}, {"kind", kByteKindLabels[k]}});
    }
  }

  auto& updates =
      prometheus::BuildCounter().Name("tributary_worker_updates_total").Help("Updates of this site, by result.").Register(state.registry);
  state.included = &updates.Add({{"result", "included"}});
  state.late = &updates.Add({{"result", "late"}});
  state.rejected = &updates.Add({{"result", "rejected"}});
  state.skipped = &updates.Add({{"result", "skipped"}});

  state.samples = &state.Counter("tributary_worker_samples_total", "Samples drawn for training.");
  state.mismatches = &state.Counter("tributary_worker_replica_hash_mismatches_total",
                                    "Commits after which this replica's state differed from the coordinator's.");
  state.connected = &state.Gauge("tributary_worker_connected", "1 while a session to the coordinator is open.").Add({});
  state.certificate_files_refused = &state
                                         .Gauge("tributary_worker_certificate_files_refused",
                                                "1 while this site's certificate files are not good, and what was read before is in use.")
                                         .Add({});
  state.Gauge("tributary_worker_build_info", "Site and version of this worker, as labels.")
      .Add({{"site", std::string(site)}, {"version", std::string(software_version)}})
      .Set(1);
}

WorkerMetrics::~WorkerMetrics() = default;

void WorkerMetrics::ObserveStep(StepPhase phase, double seconds) {
  state_->step_seconds[static_cast<size_t>(phase)]->Observe(seconds);
}
void WorkerMetrics::CountSamples(uint64_t samples) {
  state_->samples->Increment(static_cast<double>(samples));
}
void WorkerMetrics::SetResidualNorm(double norm) {
  state_->residual_norm.Set(norm);
}
void WorkerMetrics::SetTrainLoss(double loss) {
  state_->train_loss.Set(loss);
}
void WorkerMetrics::SetValidationLoss(double loss) {
  state_->validation_loss.Set(loss);
}
void WorkerMetrics::SetRound(uint64_t round) {
  state_->round.Set(static_cast<double>(round));
}
void WorkerMetrics::BeginRun(const std::string& name) {
  for (OptionalGauge* const gauge : {&state_->train_loss, &state_->validation_loss, &state_->residual_norm, &state_->round}) {
    gauge->Clear();
  }
  state_->run.Set(1, {{"run", name}});
}
void WorkerMetrics::EndRun() {
  state_->run.Clear();
}
void WorkerMetrics::SetSession(SessionStanding standing) {
  state_->connected->Set(standing == SessionStanding::kOpen ? 1 : 0);
}
void WorkerMetrics::CountMessage(ByteDirection direction, ByteKind kind, uint64_t encoded_bytes) {
  state_->bytes[static_cast<size_t>(direction)][static_cast<size_t>(kind)]->Increment(static_cast<double>(WireSize(encoded_bytes)));
}
void WorkerMetrics::CountReceipt(v1::Receipt::Result result) {
  if (result == v1::Receipt::INCLUDED) {
    state_->included->Increment();
  }
  if (result == v1::Receipt::LATE) {
    state_->late->Increment();
  }
  if (result == v1::Receipt::REJECTED) {
    state_->rejected->Increment();
  }
}
void WorkerMetrics::CountSkippedRound() {
  state_->skipped->Increment();
}
void WorkerMetrics::CountHashMismatch() {
  state_->mismatches->Increment();
}
void WorkerMetrics::SetCertificateExpiry(absl::Time wall_time) {
  state_->certificate_expiry.Set(absl::ToDoubleSeconds(wall_time - absl::UnixEpoch()));
}
void WorkerMetrics::SetCertificateFiles(CertificateFilesState state) {
  state_->certificate_files_refused->Set(state == CertificateFilesState::kRefused ? 1 : 0);
}

std::string WorkerMetrics::Text() const {
  state_->resources.Refresh();
  return prometheus::TextSerializer().Serialize(state_->registry.Collect());
}

}  // namespace tributary::worker
