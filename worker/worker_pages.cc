#include "worker/worker_pages.h"

#include <optional>

#include "absl/strings/str_cat.h"
#include "common/channel.h"
#include "common/listening.h"
#include "common/log.h"
#include "common/status_macros.h"
#include "worker/sent_history.h"

namespace tributary::worker {
namespace {

constexpr char kComponent[] = "worker";
// For an answer of the executor; a person waits no longer.
constexpr absl::Duration kPatience = absl::Seconds(5);

}  // namespace

absl::StatusOr<std::unique_ptr<WorkerPages>> WorkerPages::Start(Sources sources) {
  std::unique_ptr<WorkerPages> pages(new WorkerPages(std::move(sources)));
  const v1::WorkerConfig& config = pages->sources_.options->config;
  const std::string title = absl::StrCat("tributary-worker ", pages->sources_.options->software_version);
  if (!config.metrics_listen().empty()) {
    absl::StatusOr<std::unique_ptr<PageServer>> server =
        PageServer::Start(config.metrics_listen(), title, {MetricsPage([metrics = pages->sources_.metrics] { return metrics->Text(); })});
    TRIBUTARY_RETURN_IF_ERROR(Annotate(server.status(), "metrics_listen"));
    pages->metrics_ = *std::move(server);
    pages->metrics_address_ = pages->metrics_->address();
    LogInfo(kComponent, "metrics at http://", pages->metrics_address_, "/metrics");
  }
  if (!config.status_listen().empty()) {
    TRIBUTARY_RETURN_IF_ERROR(Annotate(CheckStatusAddress(config.status_listen()), "status_listen"));
    absl::StatusOr<std::unique_ptr<PageServer>> server =
        PageServer::Start(config.status_listen(), title, {StatusPageAt([self = pages.get()] { return self->StatusText(); })});
    TRIBUTARY_RETURN_IF_ERROR(Annotate(server.status(), "status_listen"));
    pages->status_ = *std::move(server);
    pages->status_address_ = pages->status_->address();
    LogInfo(kComponent, "status page at http://", pages->status_address_);
  }
  return pages;
}

std::string WorkerPages::StatusText() const {
  std::optional<WorkerStanding> told = AskWithin<WorkerStanding>(*sources_.executor, kPatience, [tell = sources_.tell] {
    WorkerStanding standing;
    tell(standing);
    return standing;
  });
  if (!told.has_value()) {
    return BusyPage();
  }
  WorkerStanding& standing = *told;
  const WorkerOptions& options = *sources_.options;
  const absl::Time now = options.clock->WallNow();
  standing.software_version = options.software_version;
  standing.coordinator = DescribeDestination(options.config.coordinator(), options.route);
  if (sources_.certificates != nullptr) {
    standing.certificate_expiry = sources_.certificates->current()->validity.end;
  }
  if (options.config.quiet_hours_size() > 0) {
    standing.quiet_until = sources_.hours.EndOf(now);
  }
  standing.sent = ReadSentHistory(options.config.state_dir());
  return StatusPage(standing, now);
}

}  // namespace tributary::worker
