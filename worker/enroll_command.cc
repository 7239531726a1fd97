#include "worker/enroll_command.h"

#include <poll.h>

#include <CLI/CLI.hpp>
#include <iostream>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/log.h"
#include "common/names.h"
#include "common/proxy.h"
#include "common/status_macros.h"
#include "common/tls.h"
#include "doctor/examine.h"
#include "proto/config/yaml.h"
#include "tributary/v1/config.pb.h"
#include "worker/enrol.h"
#include "worker/worker_setup.h"

namespace tributary::worker {
namespace {

absl::StatusOr<EnrolOptions> OptionsOf(const EnrollCommand& command, const ProxyEnvironment& proxies) {
  EnrolOptions options;
  std::string proxy = command.proxy;
  if (!command.config.empty()) {
    v1::WorkerConfig config;
    TRIBUTARY_RETURN_IF_ERROR(LoadYaml(command.config, &config));
    if (!config.has_tls()) {
      return absl::InvalidArgumentError(
          absl::StrCat(command.config, ": `tls` is missing: its ca, certificate and key say where to put what is made"));
    }
    options.files = FilesOf(config.tls());
    options.federation = config.federation();
    options.site = config.site();
    if (proxy.empty()) {
      proxy = config.proxy();
    }
  } else if (!command.directory.empty()) {
    options.files = {command.directory + "/ca.crt", command.directory + "/site.crt", command.directory + "/site.key"};
  } else {
    return absl::InvalidArgumentError("give --config worker.yaml, whose `tls` says where to put the files, or --directory DIR");
  }
  TRIBUTARY_RETURN_IF_ERROR(Annotate(CheckHostPort(command.coordinator), "--coordinator"));
  TRIBUTARY_ASSIGN_OR_RETURN(options.route, ChooseRoute(command.coordinator, proxy, proxies));
  options.coordinator = command.coordinator;
  options.token = command.token;
  options.existing = command.force ? ExistingFiles::kReplace : ExistingFiles::kKeep;
  options.say = [](const std::string& line) { std::cerr << line << "\n"; };
  options.wait = [](absl::Duration time) {
    poll(nullptr, 0, static_cast<int>(absl::ToInt64Milliseconds(time)));
    return absl::OkStatus();
  };
  return options;
}

ExitCode Examine(const std::string& config, const doctor::Surroundings& surroundings) {
  const doctor::Findings findings = doctor::ExamineSite(surroundings, config);
  std::cout << "\n" << doctor::FindingsPage(findings, doctor::Format::kText) << "\n";
  const ExitCode found = doctor::Outcome(findings);
  std::cout << (found == ExitCode::kOk
                    ? "Take part: tributary-worker run --config "
                    : "The certificate is there. Mend what is said above, and look again: tributary-worker doctor --config ")
            << config << "\n";
  return found;
}

}  // namespace

CLI::App& AddEnrollCommand(CLI::App& app, EnrollCommand& command) {
  CLI::App& enroll = *app.add_subcommand(
      "enroll", "Get this site's first certificate for the operator's token: makes the key here, stores what comes, tests the connection");
  enroll.add_option("--coordinator", command.coordinator, "HOST:PORT for enrolment, as the operator gave it")->required();
  enroll.add_option("--token", command.token, "the line that `tributary site token` printed (default: TRIBUTARY_TOKEN in the environment)")
      ->envname("TRIBUTARY_TOKEN")
      ->required();
  enroll.add_option("--config", command.config, "worker.yaml, whose `tls` says where to put key, certificate and CA");
  enroll.add_option("--directory", command.directory, "without --config: folder for site.key, site.crt and ca.crt");
  enroll.add_option("--proxy", command.proxy, "HTTP proxy on the way: http://[USER[:PASSWORD]@]HOST:PORT, or none");
  enroll.add_flag("--force", command.force, "replace a certificate, key and CA that are there");
  return enroll;
}

ExitCode Enroll(const EnrollCommand& command, const doctor::Surroundings& surroundings) {
  const absl::StatusOr<EnrolOptions> options = OptionsOf(command, surroundings.proxies);
  const absl::StatusOr<Identity> identity = options.ok() ? Enrol(*options) : options.status();
  if (!identity.ok()) {
    LogError("worker", identity.status().message());
    return ExitCodeOf(identity.status());
  }
  std::cout << "enrolled as " << SpiffeId(*identity) << "\n"
            << options->files.certificate << "  certificate\n"
            << options->files.key << "  its key; it was made here and stays here\n"
            << options->files.ca << "  the federation's CA\n";
  if (!command.config.empty()) {
    return Examine(command.config, surroundings);
  }
  std::cout << "Name these files in `tls` of worker.yaml, then: tributary-worker doctor --config worker.yaml\n";
  return ExitCode::kOk;
}

}  // namespace tributary::worker
