"""A run and its sites in one process, for notebooks: the coordinator, the workers and the update algebra of a real federation.

Each site's program has a thread, and one of them runs at a time, with random numbers of its own: what a program draws does not depend on
the other sites. So a run ends with the hash that it has over the network, if the programs train the same there.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
import random
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Optional, Union

import numpy

from tributary import _native, errors, models

_PATIENCE = 0.2

# A site's program: called with what it hands to `tributary.join` as `config`.
Program = Callable[["SimulatedSite"], object]


@dataclasses.dataclass(frozen=True)
class Simulated:
    """What a simulated run came to.

    status, history: as `tributary run status` and `tributary run history` print them with `--format json`; a dict, and one for each round.
    weights: {name: fp32 array} after the last round. file: the same as `tributary export` writes it, safetensors.
    """

    status: dict[str, Any]
    history: list[dict[str, Any]]
    weights: dict[str, models.Floats]
    file: bytes = dataclasses.field(repr=False)

    @property
    def state_hash(self) -> str:
        """Of the last state: equal hashes are equal bits."""
        return str(self.status["state_hash"])

    @property
    def bytes_up(self) -> int:
        """That all sites sent."""
        return int(self.status.get("bytes_up_total", 0))

    @property
    def bytes_down(self) -> int:
        """That all sites were sent."""
        return int(self.status.get("bytes_down_total", 0))

    def export(self, path: Union[str, os.PathLike[str]]) -> None:
        """Writes the model, for `tributary.load` and all that reads safetensors. Raises OSError."""
        pathlib.Path(path).write_bytes(self.file)


def simulate(run: Union[str, os.PathLike[str], Mapping[str, Any]], sites: Union[Mapping[str, Program], Iterable[tuple[str, Program]]],
             *, weights_dir: Union[str, os.PathLike[str], None] = None) -> Simulated:
    """Runs `run` in this process, and returns when it has ended.

    run: the path of a run.yaml, or the same as a dict.
    sites: by name, each site's program, which is called with one argument: it hands that to `tributary.join` in the place of worker.yaml,
        and is otherwise what would run at the site. A model of its own for each, please. Every site takes part in every round that it
        submits.
    weights_dir: folder of the file that `model.initial_weights` names. None: that of run.yaml; of a dict, the current one.

    Time is simulated but for the training: nobody is late. With `local_steps: auto`, `round.steps()` goes by real time, of which other
    programs take their share: such a run is another one each time, and says nothing of how fast sites are.

    Raises what a program raises; UsageError: the run or a program cannot be; RunFailedError: the run ended as failed; OutOfMemoryError: the
    federation does not fit into memory. After Ctrl-C, what is being computed is computed to its end. One simulation at a time.
    """
    given = list(sites.items() if isinstance(sites, Mapping) else sites)
    programs = dict(given)
    if len(programs) < len(given):
        raise errors.UsageError("two sites have one name")
    if not programs:
        raise errors.UsageError("a simulation needs at least one site")
    if isinstance(run, Mapping):
        text, name, folder = json.dumps(run), "run", pathlib.Path()
    else:
        path = pathlib.Path(run)
        text, name, folder = path.read_text(encoding="utf-8"), str(path), path.parent
    native = _native.SimulatedRun(text, name, str(weights_dir if weights_dir is not None else folder) or ".")
    before = _Randomness()
    turn = threading.Lock()
    threads = [SimulatedSite(site, program, native, turn) for site, program in programs.items()]
    try:
        for thread in threads:
            thread.start()
            while not thread.joined.wait(_PATIENCE):
                pass
        if not any(thread.failure for thread in threads):
            native.start()
            while not native.wait(_PATIENCE):
                pass
    except BaseException:
        native.stop("interrupted")
        raise
    finally:
        for thread in threads:
            thread.finish()
        before.restore()
    for thread in threads:
        if thread.failure is not None and thread.ended_it:
            raise thread.failure
    native.finish()
    for thread in threads:
        if thread.failure is not None:
            raise thread.failure
    file = native.model()
    return Simulated(json.loads(native.status()), json.loads(native.history()).get("rounds", []), _read(file), file)


class SimulatedSite:
    """One site of a simulation; its program gives it to `tributary.join` in the place of worker.yaml."""

    def __init__(self, name: str, program: Program, native: _native.SimulatedRun, turn: threading.Lock) -> None:
        self.name = name
        # Set when it has joined, or never will.
        self.joined = threading.Event()
        self.failure: Optional[BaseException] = None
        self.ended_it = False
        self._program = program
        self._native = native
        self._turn = turn
        self._host: Optional[_native.Host] = None
        self._randomness = _Randomness()
        self._thread = threading.Thread(target=self._run, name=f"site {name}", daemon=True)

    def start(self) -> None:
        """Calls the program, in a thread of its own."""
        self._thread.start()

    def finish(self) -> None:
        """Waits for the program's end."""
        while self._thread.is_alive():
            self._thread.join(_PATIENCE)

    def enter(self, model: models.Adapted, samples: int) -> _native.Host:
        """For `join`. UsageError: the site has joined already."""
        host = self._native.add(self.name, model.tensors(), model.knows_frozen, samples)
        self._host = host
        self.joined.set()
        return host

    @contextlib.contextmanager
    def idle(self) -> Iterator[None]:
        """Lets the other programs run, and waits for its turn again."""
        self._pause()
        try:
            yield
        finally:
            self._resume()

    def _resume(self) -> None:
        self._turn.acquire()
        self._randomness.restore()

    def _pause(self) -> None:
        self._randomness = _Randomness()
        self._turn.release()

    def _run(self) -> None:
        self._resume()
        try:
            try:
                self._program(self)
            except SystemExit as end:
                if end.code not in (None, 0):
                    raise
            if not self.joined.is_set():
                raise errors.UsageError(f"the program of site {self.name} ended without tributary.join(config, ...)")
        except BaseException as failure:  # of whatever kind, it is simulate's to raise
            self.failure = failure
            self.ended_it = self._native.stop(f"site {self.name}: {type(failure).__name__}: {failure}")
        finally:
            if self._host is not None:
                # A round that the program has taken and not answered would be waited for.
                self._host.stop("the program has ended")
            self.joined.set()
            self._pause()


class _Randomness:
    """What the random numbers that a program draws without a generator of its own follow from."""

    def __init__(self) -> None:
        self._python = random.getstate()
        self._numpy = numpy.random.get_state()
        torch = sys.modules.get("torch")
        self._torch = None if torch is None else torch.get_rng_state()
        self._cuda = torch.cuda.get_rng_state_all() if torch is not None and torch.cuda.is_initialized() else None

    def restore(self) -> None:
        """Goes on from there."""
        random.setstate(self._python)
        numpy.random.set_state(self._numpy)
        torch = sys.modules.get("torch")
        if torch is None:
            return
        # What somebody else has imported or initialised since is as new here: nothing follows from what they drew with it.
        torch.set_rng_state(torch.Generator().get_state() if self._torch is None else self._torch)
        if self._cuda is not None:
            torch.cuda.set_rng_state_all(self._cuda)
        elif torch.cuda.is_initialized():
            torch.cuda.manual_seed_all(torch.initial_seed())


def _read(file: bytes) -> dict[str, models.Floats]:
    """{name: fp32 array} of a safetensors file of ours."""
    begin = 8 + int.from_bytes(file[:8], "little")
    header = json.loads(file[8:begin])
    return {name: numpy.frombuffer(file[begin + tensor["data_offsets"][0]:begin + tensor["data_offsets"][1]], "<f4")
                       .reshape(tensor["shape"]).astype(numpy.float32)
            for name, tensor in header.items() if name != "__metadata__"}
