"""From a model to what run.yaml says of it, and back from an exported file."""

from __future__ import annotations

import json
import os
import pathlib
from typing import Any, Union

import numpy

from tributary import _native, models

Path = Union[str, "os.PathLike[str]"]


def describe(model: Any, weights: Path) -> str:
    """What run.yaml says of a model: its `model` and `data` sections, as YAML text.

    model: a `torch.nn.Module`, or a mapping of names to arrays of floating-point numbers.
    weights: the safetensors file that is written, with the weights that the model has now, as fp32; it goes into the coordinator's
        `initial_weights_dir`, from which the run starts.

    Raises UsageError for a model without parameters, and OSError.
    """
    adapted = models.adapt(model)
    tensors = adapted.tensors()
    values = adapted.weights()
    theta = numpy.concatenate([values[name].reshape(-1) for name, _, _ in tensors])
    path = pathlib.Path(weights)
    path.write_bytes(_native.encode_weights(tensors, theta))
    lines = ["model:", f"  initial_weights: {json.dumps(path.name)}", "  custom:", "    tensors:"]
    for name, shape, frozen in tensors:
        lines.append(f"      - {{name: {json.dumps(name)}, shape: {json.dumps(shape)}{', frozen: true' if frozen else ''}}}")
    return "\n".join([*lines, "data:", "  kind: custom", ""])


def load(model: Any, weights: Path) -> dict[str, models.Floats]:
    """Puts the weights of a safetensors file, as `tributary export` writes it, into the model; returns them as {name: fp32 array}.

    Arrays that cannot be written, JAX's for instance, stay as they are. UsageError: the file is another model's. NotFoundError,
    StorageError, DamagedError: it cannot be read.
    """
    adapted = models.adapt(model)
    tensors = adapted.tensors()
    values = models.split(_native.read_weights(os.fspath(weights), tensors), tensors)
    adapted.load(values)
    return values
