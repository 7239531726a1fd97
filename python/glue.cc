#include "python/glue.h"

#include "common/exit_codes.h"

namespace tributary::python {

void Raise(const absl::Status& status) {
  const py::object error =
      py::module_::import("tributary.errors").attr("of_code")(static_cast<int>(ExitCodeOf(status)), std::string(status.message()));
  PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(error.ptr())), error.ptr());
  throw py::error_already_set();
}

std::vector<optim::Block> BlocksOf(const std::vector<Tensor>& tensors) {
  std::vector<optim::Block> blocks;
  blocks.reserve(tensors.size());
  for (const auto& [name, shape, frozen] : tensors) {
    blocks.push_back({.name = name, .shape = shape, .frozen = frozen});
  }
  return blocks;
}

std::vector<Tensor> TensorsOf(const optim::Layout& layout) {
  std::vector<Tensor> tensors;
  for (const optim::Block& block : layout.blocks()) {
    tensors.emplace_back(block.name, block.shape, block.frozen);
  }
  return tensors;
}

py::array_t<float> View(absl::Span<const float> values, const py::object& owner) {
  py::array_t<float> view(static_cast<py::ssize_t>(values.size()), values.data(), owner);
  view.attr("setflags")(py::arg("write") = false);
  return view;
}

absl::Span<float> PlaceOf(const optim::Layout& layout, size_t block, const Array& values, absl::Span<float> theta) {
  if (block >= layout.blocks().size() || values.size() != layout.blocks()[block].size) {
    Raise(absl::InvalidArgumentError("not as many values as the tensor has"));
  }
  const optim::Block& place = layout.blocks()[block];
  return theta.subspan(place.offset, place.size);
}

}  // namespace tributary::python
