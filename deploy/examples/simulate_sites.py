"""Two sites and their run in one process, with numpy alone: what `site` does here it does at a real site, too.

    simulate_sites.py                 the simulation
    simulate_sites.py worker.yaml     one site of a federation
"""

import sys
from typing import Any, Union

import numpy
import numpy.typing

import tributary

RUN = {
    "name": "two-sites",
    "rounds": 60,
    "optimizer": {"mode": "distro", "learning_rate": {"peak": 0.05}},
    "model": {"initial_weights": "two-sites.safetensors",
              "custom": {"tensors": [{"name": "weight", "shape": [3]}, {"name": "bias", "shape": [1]}]}},
    "data": {"kind": "custom", "batch_size": 32},
    "evaluation": {"every": 20},
}


Arrays = dict[str, "numpy.typing.NDArray[Any]"]


def new_model() -> Arrays:
    return {"weight": numpy.zeros(3, numpy.float32), "bias": numpy.zeros(1, numpy.float32)}


def site(config: Union[str, tributary.SimulatedSite], seed: int) -> None:
    """Logistic regression on rows that never leave this function."""
    draw = numpy.random.default_rng(seed)
    rows = draw.normal(size=(500, 3)).astype(numpy.float32)
    labels = (rows @ numpy.array([2, -1, 0.5]) + seed - 1.5 > 0).astype(numpy.float32)
    model = new_model()

    def loss_and_gradients(x: Any, y: Any) -> tuple[float, Arrays]:
        odds = 1 / (1 + numpy.exp(-(x @ model["weight"] + model["bias"])))
        loss = -float(numpy.mean(y * numpy.log(odds + 1e-7) + (1 - y) * numpy.log(1 - odds + 1e-7)))
        return loss, {"weight": x.T @ (odds - y) / len(y), "bias": numpy.mean(odds - y, keepdims=True)}

    def validate(_: Arrays) -> float:
        return loss_and_gradients(rows[400:], labels[400:])[0]

    with tributary.join(config, model, samples=400, validate=validate) as federation:
        for round in federation:
            batch = draw.integers(400, size=round.batch_size)
            loss, gradients = loss_and_gradients(rows[batch], labels[batch])
            round.submit(loss, gradients=gradients)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        site(sys.argv[1], seed=1)
    else:
        tributary.describe(new_model(), "two-sites.safetensors")
        result = tributary.simulate(RUN, {"berlin": lambda config: site(config, 1), "lyon": lambda config: site(config, 2)})
        for row in result.history:
            if row["round"] % 20 == 0:
                print(f"round {row['round']}: validation loss {row['val_loss']:.3f}")
        print(f"state hash {result.state_hash}, {result.bytes_up} bytes up and {result.bytes_down} bytes down")
