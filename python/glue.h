// What the parts of the native module share: statuses as Python's exceptions, tensors by name, and views of numbers.
#ifndef TRIBUTARY_PYTHON_GLUE_H_
#define TRIBUTARY_PYTHON_GLUE_H_

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "optim/layout.h"

namespace tributary::python {

namespace py = pybind11;

// (name, shape, frozen) of a parameter.
using Tensor = std::tuple<std::string, std::vector<int64_t>, bool>;
using Array = py::array_t<float, py::array::c_style | py::array::forcecast>;

// All of these need Python's lock.

// Raises the class of tributary.errors that the exit code stands for.
[[noreturn]] void Raise(const absl::Status& status);

inline void Check(const absl::Status& status) {
  if (!status.ok()) {
    Raise(status);
  }
}

template <typename T>
T Value(absl::StatusOr<T> value) {
  Check(value.status());
  return *std::move(value);
}

std::vector<optim::Block> BlocksOf(const std::vector<Tensor>& tensors);
std::vector<Tensor> TensorsOf(const optim::Layout& layout);

// Numbers that somebody else keeps, as long as `owner` lives. Read-only.
py::array_t<float> View(absl::Span<const float> values, const py::object& owner);

// The place of a block in `theta`, for `values` to be written to. UsageError: no such block, or not as many values as it has.
absl::Span<float> PlaceOf(const optim::Layout& layout, size_t block, const Array& values, absl::Span<float> theta);

}  // namespace tributary::python

#endif  // TRIBUTARY_PYTHON_GLUE_H_
