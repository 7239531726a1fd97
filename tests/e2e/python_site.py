"""A site's program for python_sites.py: a perceptron in numpy or PyTorch, with a loop of its own.

    python_site.py WORKER_YAML ROWS [fail|interrupt|torch WEIGHTS]
    python_site.py simulate RUN_YAML WEIGHTS_DIR SITE=ROWS...
"""

import os
import signal
import sys

import numpy

import tributary

HIDDEN = 8


class Perceptron:
    """The C++ worker's `mlp` of one hidden layer, under its names."""

    def __init__(self, inputs, outputs):
        self.weights = {"fc.0.weight": numpy.zeros((HIDDEN, inputs), numpy.float32), "fc.0.bias": numpy.zeros(HIDDEN, numpy.float32),
                        "fc.1.weight": numpy.zeros((outputs, HIDDEN), numpy.float32), "fc.1.bias": numpy.zeros(outputs, numpy.float32)}

    def loss_and_gradients(self, rows, labels):
        w = self.weights
        before = rows @ w["fc.0.weight"].T + w["fc.0.bias"]
        inside = numpy.sqrt(2 / numpy.pi) * (before + 0.044715 * before**3)
        hidden = 0.5 * before * (1 + numpy.tanh(inside))
        logits = hidden @ w["fc.1.weight"].T + w["fc.1.bias"]
        logits -= logits.max(axis=1, keepdims=True)
        odds = numpy.exp(logits)
        odds /= odds.sum(axis=1, keepdims=True)
        loss = -numpy.log(odds[numpy.arange(len(labels)), labels]).mean()
        odds[numpy.arange(len(labels)), labels] -= 1
        odds /= len(labels)
        back = odds @ w["fc.1.weight"]
        slope = 0.5 * (1 + numpy.tanh(inside)) + 0.5 * before * (1 - numpy.tanh(inside)**2) * numpy.sqrt(2 / numpy.pi) * (
            1 + 3 * 0.044715 * before**2)
        back *= slope
        return loss, {"fc.0.weight": back.T @ rows, "fc.0.bias": back.sum(axis=0), "fc.1.weight": odds.T @ hidden,
                      "fc.1.bias": odds.sum(axis=0)}


def train_with_torch(config, rows, labels, weights):
    """The same in PyTorch; its last state goes into the file `weights`."""
    import torch

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = torch.nn.ModuleList([torch.nn.Linear(rows.shape[1], HIDDEN), torch.nn.Linear(HIDDEN, 2)])

        def forward(self, x):
            return self.fc[1](torch.nn.functional.gelu(self.fc[0](x)))

    torch.manual_seed(1)
    model = Net()
    x, y = torch.from_numpy(rows), torch.from_numpy(labels)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def validate(module):
        with torch.no_grad():
            return torch.nn.functional.cross_entropy(module(x), y).item()

    first = None
    with tributary.join(config, model, samples=len(rows), validate=validate) as federation:
        for round in federation:
            first = first or validate(model)
            for _ in round.steps():
                batch = torch.randint(len(rows), (round.batch_size,))
                optimizer.zero_grad()
                loss = torch.nn.functional.cross_entropy(model(x[batch]), y[batch])
                loss.backward()
                if round.sends == "weights":
                    torch.nn.utils.clip_grad_norm_(model.parameters(), round.clip_norm)
                    optimizer.step()
            round.submit(loss.item())
    print(f"loss {first:.3f} {validate(model):.3f}", flush=True)
    tributary.describe(model, weights)


def train_with_numpy(config, rows, labels, behaviour):
    model = Perceptron(rows.shape[1], 2)
    random = numpy.random.default_rng(1)

    def validate(_):
        return model.loss_and_gradients(rows, labels)[0]

    first = None
    with tributary.join(config, model.weights, samples=len(rows), validate=validate) as federation:
        for round in federation:
            if behaviour == "fail" and round.number >= 3:
                raise ZeroDivisionError("a mistake in the program")
            if behaviour == "interrupt" and round.number >= 3:
                os.kill(os.getpid(), signal.SIGINT)
            if round.number == 2:
                round.skip("to see that the next one comes")
                continue
            first = first or validate(None)
            weights = round.weights
            for _ in round.steps():
                model.weights.update(weights)
                batch = random.integers(len(rows), size=round.batch_size)
                loss, gradients = model.loss_and_gradients(rows[batch], labels[batch])
                weights = {name: values - 0.1 * gradients[name] for name, values in weights.items()}
            if round.sends == "weights":
                round.submit(loss, weights=weights)
            else:
                round.submit(loss, gradients=gradients)
    print(f"loss {first:.3f} {validate(None):.3f}", flush=True)


def read(table):
    data = numpy.loadtxt(table, delimiter=",", skiprows=1, dtype=numpy.float32)
    return data[:, :-1], data[:, -1].astype(int)


def simulate(run, weights_dir, sites):
    """The programs of all sites in this one; prints the hash of the last state."""
    tables = dict(site.split("=") for site in sites)
    programs = {site: lambda config, table=table: train_with_numpy(config, *read(table), "") for site, table in tables.items()}
    print(tributary.simulate(run, programs, weights_dir=weights_dir).state_hash)


def main():
    config, table, *behaviour = sys.argv[1:]
    if config == "simulate":
        simulate(table, behaviour[0], behaviour[1:])
    elif behaviour and behaviour[0] == "torch":
        train_with_torch(config, *read(table), behaviour[1])
    else:
        train_with_numpy(config, *read(table), *behaviour[:1] or [""])


if __name__ == "__main__":
    main()
