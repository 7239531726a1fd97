"""A site's part in a federation: rounds come, and go when what was learned in them is submitted."""

from __future__ import annotations

import contextlib
import operator
import os
import sys
import time
import types
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any, Optional, Protocol, TypeVar, Union

from tributary import _native, errors, models

# Between two looks at Ctrl-C.
_PATIENCE = 0.2
# Of a round with a time for local steps: after one, an update would be a gradient, which tells more of its samples.
_LEAST_STEPS = 2

# A loss, or (loss, {metric: value}).
Validate = Callable[[Any], Union[float, "tuple[float, Mapping[str, float]]"]]
Optimizer = TypeVar("Optimizer")


class RunOver(SystemExit):
    """The run has ended, and with it the steps of an optimizer that was given to it.

    `with tributary.join(...)` ends its block quietly by it; outside of one, the program ends as if it had come to its end.
    """

    def __init__(self) -> None:
        super().__init__(0)


class Place(Protocol):
    """Where a simulated site joins (simulation.py); at a real one it is the path of worker.yaml."""

    def enter(self, model: models.Adapted, samples: int) -> _native.Host:
        """The site's worker."""

    def idle(self) -> AbstractContextManager[None]:
        """While the program only waits."""


def join(config: Union[str, os.PathLike[str], Place], model: Any, *, samples: int, validate: Optional[Validate] = None,
         once: bool = True, insecure: bool = False, connect_timeout: Optional[float] = None) -> Federation:
    """Joins the federation that `config`, the path of a worker.yaml, names; rounds are iterated over.

    config: in a simulation, what the program is called with (`tributary.simulate`); the last three arguments have no effect there.
    model: a `torch.nn.Module` or a mapping of names to arrays (models.py). Its names and shapes must be those of the run.
    samples: rows, windows or images that this site trains on; consent.min_samples is compared with it.
    validate: called with the model where the run asks for a validation loss, which it returns: a mean over this site's own held-out
        samples, always the same ones; or (loss, metrics), with {name: value} of "accuracy", "auroc", "f1", "rmse" or "perplexity", of which
        those are reported that the run's `evaluation.metrics` name. None: this site reports none.
    once: end after the first run. False: go on until the program ends or `close` is called.
    data in worker.yaml is not read: it names the folder that the program reads, for people.
    insecure: no TLS; to this machine itself only, for trials.
    connect_timeout: seconds that the first connection may take; None: it waits.

    Raises UsageError: worker.yaml, the model or an argument cannot be; CredentialsError, StorageError. The rounds raise the other classes
    of `tributary.errors`. One thread uses the result.
    """
    try:
        samples = operator.index(samples)
    except TypeError:
        raise errors.UsageError(f"samples is a number of samples, not {samples!r}") from None
    if samples < 1:
        raise errors.UsageError(f"samples is {samples}: a site without samples has nothing to train on")
    adapted = models.adapt(model)
    if isinstance(config, (str, os.PathLike)):
        worker = _native.Worker(os.fspath(config), adapted.tensors(), adapted.knows_frozen, samples, once, insecure, connect_timeout)
        return Federation(worker, contextlib.nullcontext, model, adapted, validate)
    return Federation(config.enter(adapted, samples), config.idle, model, adapted, validate)


class Federation:
    """What `join` gives: an iterator of rounds, and a context manager. When a run finishes, the model has its last state."""

    def __init__(self, worker: _native.Host, idle: Callable[[], AbstractContextManager[None]], model: Any, adapted: models.Adapted,
                 validate: Optional[Validate]) -> None:
        self._worker: Optional[_native.Host] = worker
        self._idle = idle
        self._given = model
        self._model = adapted
        self._validate = validate
        self._round: Optional[Round] = None

    @property
    def round(self) -> Optional[Round]:
        """The round that is open; None: there is none."""
        return self._round

    def __iter__(self) -> Federation:
        return self

    def __next__(self) -> Round:
        """The next round; the model has the weights that it starts from. A round before that was not submitted is skipped.

        Raises StopIteration when the run is over, and RunFailedError when it ended as failed or stopped.
        """
        worker = self._worker
        if worker is None:
            raise StopIteration
        if self._round is not None:
            self._round.skip("the program went on without submitting it")
        try:
            while True:
                with self._idle():
                    work = worker.next(_PATIENCE)
                if isinstance(work, str):
                    self._evaluate(worker)
                elif work is not None:
                    self._round = Round(self, worker, work, self._load(worker))
                    return self._round
                elif worker.over():
                    self._worker = None
                    worker.finish()
                    raise StopIteration
        except StopIteration:
            raise
        except BaseException:
            self.close()
            raise

    def optimizer(self, optimizer: Optimizer) -> Optimizer:
        """Gives the steps of a program's own loop to the run: for loops that cannot go over rounds.

        optimizer: a `torch.optim.Optimizer` of the model's parameters. Its `step` is replaced, and it is returned.

        Waits for the first round. From then on each `step` is a step of a round: where the run sends weights, it clips the gradient to
        `round.clip_norm` and steps as before, and the last local step of a round submits and waits for the next; where the run sends
        gradients, it submits the gradient instead, and waits. The loss goes along as the closure that PyTorch's optimizers take:
        `optimizer.step(lambda: loss)`, or one that computes it. Learning rate and schedulers are the program's own (`round.learning_rate`
        is the run's).

        Raises RunOver when the run is over; what iteration raises; UsageError for a step without a loss.
        """
        own_step: Any = getattr(optimizer, "step")
        losses: list[float] = []

        def step(this: Any, closure: Optional[Callable[[], Any]] = None) -> Any:
            round = self._round
            if round is None:
                raise RunOver
            if closure is None:
                raise errors.UsageError("the run is told the training loss: optimizer.step(lambda: loss)")
            loss = closure()
            losses.append(float(loss))
            if round.sends == "weights":
                if round.clip_norm > 0:
                    parameters = [parameter for group in this.param_groups for parameter in group["params"]]
                    sys.modules["torch"].nn.utils.clip_grad_norm_(parameters, round.clip_norm)
                own_step()
            if not round._count():
                round.submit(sum(losses) / len(losses))
                losses.clear()
                self._await_round()
            return loss

        self._await_round()
        setattr(optimizer, "step", types.MethodType(step, optimizer))
        return optimizer

    def close(self) -> None:
        """Leaves the federation; what is under way is skipped. Idempotent."""
        if self._worker is not None:
            worker, self._worker = self._worker, None
            self._round = None
            worker.stop("the program leaves the federation")
            worker.finish()

    def __enter__(self) -> Federation:
        return self

    def __exit__(self, kind: Optional[type[BaseException]], *_: object) -> bool:
        self.close()
        return kind is RunOver

    def _await_round(self) -> None:
        try:
            next(self)
        except StopIteration:
            raise RunOver from None

    def _load(self, worker: _native.Host) -> dict[str, models.Floats]:
        # The worker's own ends with the round.
        values = models.split(worker.theta().copy(), worker.layout())
        self._model.load(values)
        return values

    def _evaluate(self, worker: _native.Host) -> None:
        self._load(worker)
        if self._validate is None:
            worker.evaluate_nothing()
        else:
            with self._model.as_before():
                found = self._validate(self._given)
            loss, metrics = found if isinstance(found, tuple) else (found, {})
            worker.answer(float(loss), {name: float(value) for name, value in metrics.items()})


class Round:
    """One round of a run.

    mode: the optimiser ("distro"). sends: what the run wants of it, "gradient" or "weights".
    number: of `rounds`, from 1. learning_rate: of its local steps, where it has any.
    local_steps: optimiser steps that the program takes; 1 where a gradient is sent. batch_size: samples of each.
    local_time: seconds into which as many steps are to fit as the site can take, at least 2 and at most `most_local_steps`; what they
    change then counts as if they had been `local_steps`. None: the program takes `local_steps`.
    clip_norm: L2 norm to which the program clips the gradient of each of its own steps; 0: none. A gradient that is sent is clipped by the
    worker.
    weights: {name: fp32 array} that the round starts from, in the run's shapes, the program's own to change.
    """

    def __init__(self, federation: Federation, worker: _native.Host, native: _native.Round, weights: dict[str, models.Floats]) -> None:
        self._federation = federation
        self._worker = worker
        self.weights = weights
        self.mode = native.mode
        self.sends = "weights" if native.sends_weights else "gradient"
        self.number = native.number
        self.rounds = native.rounds
        self.learning_rate = native.learning_rate
        self.local_steps = native.local_steps
        self.local_time = native.local_time
        self.most_local_steps = native.most_local_steps
        self._begin = time.monotonic()
        self._taken = 0  # local steps that were counted
        self.batch_size = native.batch_size
        self.clip_norm = native.clip_norm
        self.seed = native.seed

    def __repr__(self) -> str:
        return f"<round {self.number} of {self.rounds}, {self.mode}: sends {self.sends}>"

    def steps(self) -> Iterator[int]:
        """The round's local steps, numbered from 0: `local_steps`, or as many as fit into `local_time`, which `submit` is told then.

        A step counts once it is handed out, and the first one begins `local_time`. A loop may end before it has had them all.
        """
        if self._taken == 0:
            self._begin = time.monotonic()
        while self._taken == 0 or self._another():
            self._taken += 1
            yield self._taken - 1

    def submit(self, loss: float, *, gradients: Optional[Mapping[str, Any]] = None, weights: Optional[Mapping[str, Any]] = None,
               steps: Optional[int] = None) -> None:
        """Hands over what was learned, and with it the mean training loss.

        A module's own gradients or weights are taken, whichever the run sends: the mean gradient of one batch, which nobody has clipped, or
        the weights after `local_steps` steps. `gradients` or `weights` ({name: array of floating-point numbers, in the run's shape}) are
        taken instead where they are given.
        steps: of a round with `local_time`, the local steps that were taken; not needed where `steps()` has counted them.

        Raises UsageError: given is not what the run sends, or a name or shape is missing or wrong; the round is still open.
        """
        self._check_open()
        taken = self._check_steps(steps)
        unwanted = weights if self.sends == "gradient" else gradients
        if unwanted is not None:
            raise errors.UsageError(f"this run sends {self.sends}; give those, or nothing")
        given = gradients if self.sends == "gradient" else weights
        if given is None:
            model = self._federation._model
            given = model.gradients() if self.sends == "gradient" else model.trained_weights()
        values = []
        for name, shape, _ in self._worker.layout():
            if name not in given:
                raise errors.UsageError(f"there is no '{name}' among what is submitted")
            array = models.to_fp32(name, given[name])
            if list(array.shape) != shape:
                raise errors.UsageError(f"'{name}' has the shape {list(array.shape)}, and {shape} in the run")
            values.append(array.reshape(-1))
        for number, array in enumerate(values):
            self._worker.put(number, array)
        if self.local_time is not None:
            self._worker.took_steps(taken)
        self._worker.answer(float(loss))
        self._close()

    def skip(self, reason: str) -> None:
        """Takes no part in this round; the coordinator learns that, and this site's log the reason. UsageError: the round is over."""
        self._check_open()
        self._worker.skip(str(reason))
        self._close()

    def _count(self) -> bool:
        """A local step was taken: whether another one is to follow."""
        self._taken += 1
        return self._another()

    def _another(self) -> bool:
        """After at least one local step: whether another one is to follow."""
        if self.local_time is None:
            return self._taken < self.local_steps
        elapsed = time.monotonic() - self._begin
        fits = self._taken < self.most_local_steps and elapsed + elapsed / self._taken <= self.local_time
        return self._taken < _LEAST_STEPS or fits

    def _check_steps(self, given: Optional[int]) -> int:
        """The local steps that were taken."""
        if self.local_time is None:
            if given is not None and given != self.local_steps:
                raise errors.UsageError(f"this run has {self.local_steps} local steps a round, not {given}")
            return self.local_steps
        taken = self._taken if given is None else operator.index(given)
        if taken == 0:
            raise errors.UsageError("this run leaves the number of local steps to the site: iterate over steps(), or submit(steps=...)")
        if not _LEAST_STEPS <= taken <= self.most_local_steps:
            raise errors.UsageError(f"{taken} local steps: a round has {_LEAST_STEPS} to {self.most_local_steps} (consent.max_local_steps)")
        return taken

    def _check_open(self) -> None:
        if self._federation._round is not self:
            raise errors.UsageError("this round is over")

    def _close(self) -> None:
        self._federation._round = None
