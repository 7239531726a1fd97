#include "python/run_reader.h"

#include <unistd.h>

#include <chrono>
#include <future>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cli/interrupt.h"
#include "cli/model_download.h"
#include "cli/output.h"
#include "common/clock.h"
#include "common/proxy.h"
#include "common/status_macros.h"
#include "optim/weights_file.h"
#include "proto/config/weights_sections.h"

namespace tributary::python {
namespace {

// Between two looks at Ctrl-C.
constexpr std::chrono::milliseconds kPatience(200);

}  // namespace

RunReader::RunReader(const std::string& file, bool insecure) {
  cli::ConnectionFlags flags;
  flags.config = file;
  flags.proxies = ProxyEnvironmentOf(environ);
  flags.insecure = insecure;
  connection_ = Value(cli::ResolveConnection(flags));
}

template <typename Work>
auto RunReader::Patiently(Work work) {
  cli::Interrupt interrupt;
  cli::Client client(connection_, &interrupt, &Clock::Real());
  auto answer = std::async(std::launch::async, [&] { return work(client); });
  while (true) {
    {
      const py::gil_scoped_release release;
      if (answer.wait_for(kPatience) == std::future_status::ready) {
        break;
      }
    }
    if (PyErr_CheckSignals() != 0) {
      interrupt.Raise();
      const py::gil_scoped_release release;
      answer.wait();
      break;
    }
  }
  if (PyErr_Occurred() != nullptr) {
    throw py::error_already_set();
  }
  return Value(answer.get());
}

std::string RunReader::Status(const std::string& run) {
  return cli::ToJson(Patiently([&](cli::Client& client) { return client.GetRun(run); }));
}

std::string RunReader::History(const std::string& run) {
  return cli::ToJson(Patiently([&](cli::Client& client) -> absl::StatusOr<v1::RunHistory> {
    TRIBUTARY_ASSIGN_OR_RETURN(const v1::RunStatus status, client.GetRun(run));
    return client.GetRunHistory(status.run_id());
  }));
}

py::bytes RunReader::Model(const std::string& run, std::optional<uint64_t> round) {
  return Patiently([&](cli::Client& client) -> absl::StatusOr<std::string> {
    TRIBUTARY_ASSIGN_OR_RETURN(const v1::RunStatus status, client.GetRun(run));
    TRIBUTARY_ASSIGN_OR_RETURN(const cli::DownloadedModel model, cli::DownloadModel(&client, status, round, [](uint64_t, uint64_t) {}));
    return optim::EncodeWeights(model.layout, model.state.theta,
                                {status.run_id(), model.state.round, model.hash, WeightsSectionsOf(status.spec())});
  });
}

void AddRunReader(py::module_& module) {
  py::class_<RunReader>(module, "RunReader")
      .def(py::init<const std::string&, bool>())
      .def("status", &RunReader::Status)
      .def("history", &RunReader::History)
      .def("model", &RunReader::Model);
}

}  // namespace tributary::python
