"""What is asked of a model: its parameters by name, fp32, and where new values go.

A `torch.nn.Module` is read by `named_parameters()`; parameters that do not require gradients are frozen. Buffers (running means of
batch normalisation, for instance) stay at the site. Anything else is a mapping of names to arrays that numpy can read, or to torch tensors:
what can be written is written in place; of the rest (JAX) the program takes `round.weights`.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy
import numpy.typing

from tributary import errors

Floats = numpy.typing.NDArray[numpy.float32]
# (name, shape, frozen)
Tensor = tuple[str, list[int], bool]


class Adapted(Protocol):
    """A model, however it is kept."""

    knows_frozen: bool

    def tensors(self) -> list[Tensor]:
        """Its parameters, in the model's own order."""

    def weights(self) -> dict[str, Floats]:
        """{name: fp32 array}"""

    def trained_weights(self) -> dict[str, Floats]:
        """The same after a round: what was lost when the round's were rounded to a shorter type is no part of what was learned."""

    def gradients(self) -> dict[str, Floats]:
        """{name: fp32 array}; zeros where nothing was learned. UsageError: nothing was learned anywhere."""

    def load(self, values: Mapping[str, Floats]) -> bool:
        """Takes over {name: fp32 array}, and forgets gradients: a round starts without. Whether all could be taken over."""

    def as_before(self) -> AbstractContextManager[None]:
        """What is done meanwhile leaves the model as it was in all but its parameters: training or evaluating."""


def adapt(model: Any) -> Adapted:
    """The model as one of the classes below. UsageError: it is neither."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(model, torch.nn.Module):
        return _Torch(torch, model)
    if hasattr(model, "items"):
        return _Mapping(model)
    raise errors.UsageError(f"a model is a torch.nn.Module or a mapping of names to arrays, not {type(model).__name__}")


def to_fp32(name: str, values: Any) -> Floats:
    """A tensor or array as numpy's, fp32, of the same shape. UsageError: it does not hold floating-point numbers."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(values, torch.Tensor):
        if not values.dtype.is_floating_point:
            raise errors.UsageError(f"'{name}' has values of type {values.dtype}; a model's parameters are floating-point numbers")
        values = values.detach()
        if values.layout != torch.strided:
            values = values.to_dense()
        converted: Floats = values.to(device="cpu", dtype=torch.float32).contiguous().numpy()
        return converted
    array = numpy.asarray(values)
    if array.dtype.kind != "f" and array.dtype.name != "bfloat16":
        raise errors.UsageError(f"'{name}' has values of type {array.dtype}; a model's parameters are floating-point numbers")
    return numpy.asarray(array, dtype=numpy.float32, order="C")


def split(theta: Floats, tensors: list[Tensor]) -> dict[str, Floats]:
    """Views of the parts of a flat array, by name and in their shapes."""
    values = {}
    offset = 0
    for name, shape, _ in tensors:
        size = int(numpy.prod(shape, dtype=numpy.int64))
        values[name] = theta[offset:offset + size].reshape(shape)
        offset += size
    return values


def _check(name: str, array: Floats) -> Floats:
    if array.size == 0:
        raise errors.UsageError(f"'{name}' has the shape {list(array.shape)}: nothing in it can be trained")
    return array


class _Torch:
    # Whose frozen parameters are known.
    knows_frozen = True

    def __init__(self, torch: Any, module: Any) -> None:
        self._torch = torch
        self._module = module
        self._parameters: dict[str, Any] = dict(module.named_parameters())
        if not self._parameters:
            raise errors.UsageError("the module has no parameters")
        self._rounding: dict[str, Floats] = {}
        self._shapes = {name: list(_check(name, array).shape) for name, array in self.weights().items()}

    def tensors(self) -> list[Tensor]:
        return [(name, shape, not self._parameters[name].requires_grad) for name, shape in self._shapes.items()]

    def weights(self) -> dict[str, Floats]:
        return {name: to_fp32(name, parameter) for name, parameter in self._parameters.items()}

    def trained_weights(self) -> dict[str, Floats]:
        return {name: array + self._rounding[name] if name in self._rounding else array for name, array in self.weights().items()}

    def gradients(self) -> dict[str, Floats]:
        if all(parameter.grad is None for parameter in self._parameters.values()):
            raise errors.UsageError("no parameter has a gradient: call backward() before submit(), and zero_grad() not in between")
        return {name: numpy.zeros(tuple(parameter.shape), numpy.float32) if parameter.grad is None else to_fp32(name, parameter.grad)
                for name, parameter in self._parameters.items()}

    def load(self, values: Mapping[str, Floats]) -> bool:
        with self._torch.no_grad():
            for name, parameter in self._parameters.items():
                parameter.copy_(self._torch.from_numpy(values[name]).view(parameter.shape))
                parameter.grad = None
                if parameter.dtype != self._torch.float32:
                    self._rounding[name] = values[name] - to_fp32(name, parameter)
        return True

    @contextlib.contextmanager
    def as_before(self) -> Iterator[None]:
        training = [(module, module.training) for module in self._module.modules()]
        yield
        for module, was in training:
            module.training = was


class _Mapping:
    knows_frozen = False

    def __init__(self, arrays: Mapping[str, Any]) -> None:
        self._arrays = arrays
        if not dict(arrays.items()):
            raise errors.UsageError("the mapping is empty")
        self._shapes = {name: list(_check(name, to_fp32(name, array)).shape) for name, array in arrays.items()}

    def tensors(self) -> list[Tensor]:
        return [(name, shape, False) for name, shape in self._shapes.items()]

    def weights(self) -> dict[str, Floats]:
        return {name: to_fp32(name, array) for name, array in self._arrays.items()}

    trained_weights = weights

    def gradients(self) -> dict[str, Floats]:
        raise errors.UsageError("this run sends gradients: hand them over, round.submit(loss, gradients={name: array})")

    def load(self, values: Mapping[str, Floats]) -> bool:
        torch = sys.modules.get("torch")
        written = True
        for name, array in self._arrays.items():
            if isinstance(array, numpy.ndarray) and array.flags.writeable:
                array[...] = values[name].reshape(array.shape)
            elif torch is not None and isinstance(array, torch.Tensor):
                with torch.no_grad():
                    array.copy_(torch.from_numpy(values[name]).view(array.shape))
            else:
                written = False
        return written

    def as_before(self) -> AbstractContextManager[None]:
        return contextlib.nullcontext()
