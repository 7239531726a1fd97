"""Tributary for training loops in Python: a site's own model, data and loop, in a federation.

    federation = tributary.join("worker.yaml", model, samples=len(rows))
    for round in federation:
        loss = train(model)        # the loop that was there before
        round.submit(loss)

Consent, saved state, quiet hours, bandwidth and certificates are the worker's own (worker.yaml), because it is the same code.
Needs numpy; a model is a `torch.nn.Module` or a mapping of names to arrays. `simulate` runs sites in one process, `Run` reads what became
of a run, and `tributary.optim` has the update algebra as an optimizer of PyTorch.
"""

from tributary import errors
from tributary._native import __version__
from tributary.describe import describe, load
from tributary.federation import Federation, Round, RunOver, join
from tributary.runs import Run
from tributary.simulation import Simulated, SimulatedSite, simulate

__all__ = ["Federation", "Round", "Run", "RunOver", "Simulated", "SimulatedSite", "__version__", "describe", "errors", "join", "load",
           "simulate"]
