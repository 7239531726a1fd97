"""From a model to what run.yaml says of it, and back from an exported file."""

import json
import pathlib

import numpy

from tributary import _native, models


def describe(model, weights):
    """What run.yaml says of a model: its `model` and `data` sections, as YAML text.

    Writes the weights that the model has now to the safetensors file `weights`; it goes into the coordinator's `initial_weights_dir`, from
    which the run starts. Raises UsageError for a model without parameters, and OSError.
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


def load(model, weights):
    """Puts the weights of a safetensors file, as `tributary export` writes it, into the model; returns them as {name: fp32 array}.

    Arrays that cannot be written, JAX's for instance, stay as they are. UsageError: the file is another model's.
    """
    adapted = models.adapt(model)
    tensors = adapted.tensors()
    theta = _native.read_weights(str(weights), tensors)
    values = {}
    offset = 0
    for name, shape, _ in tensors:
        size = int(numpy.prod(shape, dtype=numpy.int64))
        values[name] = theta[offset:offset + size].reshape(shape)
        offset += size
    adapted.load(values)
    return values
