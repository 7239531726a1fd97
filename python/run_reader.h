// What an operator may read of a run, over the connection that operator.yaml names: `tributary.Run`.
#ifndef TRIBUTARY_PYTHON_RUN_READER_H_
#define TRIBUTARY_PYTHON_RUN_READER_H_

#include <cstdint>
#include <optional>
#include <string>

#include "cli/client.h"
#include "common/channel.h"
#include "python/glue.h"

namespace tributary::python {

// Used with Python's lock, which is let go of while the coordinator answers; Ctrl-C cancels the call.
class RunReader {
 public:
  // Raises what is wrong with operator.yaml, `file`, or its certificates.
  RunReader(const std::string& file, bool insecure);

  // `run`: an id, or a name, which means its newest run; empty: the newest of all. JSON as the command line writes it.
  std::string Status(const std::string& run);
  std::string History(const std::string& run);
  // The model after a round (none: the last that is committed), as safetensors.
  py::bytes Model(const std::string& run, std::optional<uint64_t> round);

 private:
  // `work(client)` on a thread of its own.
  template <typename Work>
  auto Patiently(Work work);

  Connection connection_;
};

void AddRunReader(py::module_& module);

}  // namespace tributary::python

#endif  // TRIBUTARY_PYTHON_RUN_READER_H_
