// The part of the Python package `tributary` that is not Python. What each class and function is, tributary/_native.pyi says to Python.
#include <cstdlib>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "optim/layout.h"
#include "optim/weights_file.h"
#include "python/glue.h"
#include "python/host.h"
#include "python/replica.h"
#include "python/run_reader.h"
#include "python/simulated_run.h"
#include "python/site_worker.h"

namespace tributary::python {
namespace {

// A safetensors file of these tensors.
py::bytes EncodeWeights(const std::vector<Tensor>& tensors, const Array& theta) {
  const optim::Layout layout = Value(optim::Layout::Create(BlocksOf(tensors)));
  return Value(optim::EncodeWeights(layout, absl::MakeConstSpan(theta.data(), static_cast<size_t>(theta.size())), {}));
}

// The values of a safetensors file, in the order of `tensors`.
py::array_t<float> ReadWeights(const std::string& path, const std::vector<Tensor>& tensors) {
  const optim::Layout layout = Value(optim::Layout::Create(BlocksOf(tensors)));
  const std::vector<float> theta = Value(optim::ReadWeights(path, layout));
  return py::array_t<float>(static_cast<py::ssize_t>(theta.size()), theta.data());
}

// NumPy 2 keeps an array's item size elsewhere, and pybind11 before 2.12 would lay arrays out by what it finds in the old place.
void CheckNumPy() {
  const auto version = py::module_::import("numpy").attr("__version__").cast<std::string>();
  if (PYBIND11_VERSION_HEX < 0x020c0000 && std::atoi(version.c_str()) >= 2) {
    throw py::import_error(absl::StrCat("this build of tributary, with pybind11 ", PYBIND11_VERSION_MAJOR, ".", PYBIND11_VERSION_MINOR,
                                        ", knows no NumPy ", version, ": install it with pip, or use a NumPy before 2"));
  }
}

}  // namespace

PYBIND11_MODULE(_native, module) {
  CheckNumPy();
  module.attr("__version__") = TRIBUTARY_VERSION;
  AddHost(module);
  AddSiteWorker(module);
  AddSimulatedRun(module);
  AddRunReader(module);
  AddReplica(module);
  module.def("encode_weights", &EncodeWeights);
  module.def("read_weights", &ReadWeights);
}

}  // namespace tributary::python
