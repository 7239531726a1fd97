"""A site's part in a federation: rounds come, and go when what was learned in them is submitted."""

import operator

import numpy

from tributary import _native, errors, models

# Between two looks at Ctrl-C.
_PATIENCE = 0.2


def join(config, model, *, samples, validate=None, once=True, insecure=False, connect_timeout=None):
    """Joins the federation that `config`, the path of a worker.yaml, names; rounds are iterated over.

    model: a `torch.nn.Module` or a mapping of names to arrays (models.py). Its names and shapes must be those of the run.
    samples: rows, windows or images that this site trains on; consent.min_samples is compared with it.
    validate: called with the model where the run asks for a validation loss, which it returns: a mean over this site's own held-out
        samples, always the same ones. None: this site reports none.
    once: end after the first run. False: go on until the program ends or `close` is called.
    data in worker.yaml is not read: it names the folder that the program reads, for people.
    insecure: no TLS; to this machine itself only, for trials.
    connect_timeout: seconds that the first connection may take; None: it waits.

    Raises the classes of `tributary.errors`. One thread uses the result.
    """
    return Federation(config, model, samples=samples, validate=validate, once=once, insecure=insecure, connect_timeout=connect_timeout)


class Federation:
    """What `join` gives: an iterator of rounds, and a context manager. When a run finishes, the model has its last state."""

    def __init__(self, config, model, *, samples, validate, once, insecure, connect_timeout):
        try:
            samples = operator.index(samples)
        except TypeError:
            raise errors.UsageError(f"samples is a number of samples, not {samples!r}") from None
        if samples < 1:
            raise errors.UsageError(f"samples is {samples}: a site without samples has nothing to train on")
        self._model = models.adapt(model)
        self._given = model
        self._validate = validate
        self._round = None
        model = self._model
        self._worker = _native.Worker(str(config), model.tensors(), model.knows_frozen, samples, once, insecure, connect_timeout)

    def __iter__(self):
        return self

    def __next__(self):
        """The next round; the model has the weights that it starts from. A round before that was not submitted is skipped."""
        if self._worker is None:
            raise StopIteration
        if self._round is not None:
            self._round.skip("the program went on without submitting it")
        try:
            while True:
                work = self._worker.next(_PATIENCE)
                if work == "evaluate":
                    self._evaluate()
                elif work is not None:
                    self._round = Round(self, self._worker, work, self._load())
                    return self._round
                elif self._worker.over():
                    worker, self._worker = self._worker, None
                    worker.finish()
                    raise StopIteration
        except StopIteration:
            raise
        except BaseException:
            self.close()
            raise

    def close(self):
        """Leaves the federation; what is under way is skipped. Idempotent."""
        if self._worker is not None:
            worker, self._worker = self._worker, None
            worker.stop("the program leaves the federation")
            worker.finish()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _load(self):
        theta = self._worker.theta()
        values = {}
        offset = 0
        for name, shape, _ in self._worker.layout():
            size = int(numpy.prod(shape, dtype=numpy.int64))
            values[name] = theta[offset:offset + size].reshape(shape).copy()  # the view ends with the round
            offset += size
        self._model.load(values)
        return values

    def _evaluate(self):
        self._load()
        if self._validate is None:
            self._worker.evaluate_nothing()
        else:
            self._worker.answer(float(self._validate(self._given)))


class Round:
    """One round of a run.

    mode: the optimiser ("distro"). sends: what the run wants of it, "gradient" or "weights".
    number: of `rounds`, from 1. learning_rate: of its local steps, where it has any.
    local_steps: optimiser steps that the program takes; 1 where a gradient is sent. batch_size: samples of each.
    clip_norm: L2 norm to which the program clips the gradient of each of its own steps; 0: none. A gradient that is sent is clipped by the
    worker.
    weights: {name: fp32 array} that the round starts from, the program's own to change.
    """

    def __init__(self, federation, worker, native, weights):
        self._federation = federation
        self._worker = worker
        self.weights = weights
        self.mode = native.mode
        self.sends = "weights" if native.sends_weights else "gradient"
        self.number = native.number
        self.rounds = native.rounds
        self.learning_rate = native.learning_rate
        self.local_steps = native.local_steps
        self.batch_size = native.batch_size
        self.clip_norm = native.clip_norm
        self.seed = native.seed

    def __repr__(self):
        return f"<round {self.number} of {self.rounds}, {self.mode}: sends {self.sends}>"

    def submit(self, loss, *, gradients=None, weights=None):
        """Hands over what was learned, and with it the mean training loss.

        A module's own gradients or weights are taken, whichever the run sends: the mean gradient of one batch, which nobody has clipped, or
        the weights after `local_steps` steps. `gradients` or `weights` ({name: array}) are taken instead where they are given.
        UsageError: given is not what the run sends, or a name or shape is missing or wrong; the round is still open.
        """
        self._check_open()
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
        self._worker.answer(float(loss))
        self._close()

    def skip(self, reason):
        """Takes no part in this round; the coordinator learns that, and this site's log the reason."""
        self._check_open()
        self._worker.skip(str(reason))
        self._close()

    def _check_open(self):
        if self._federation._round is not self:
            raise errors.UsageError("this round is over")

    def _close(self):
        self._federation._round = None
