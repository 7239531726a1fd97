"""The native part: for the modules of the package, not for programs. Arrays are fp32, in C order."""

from typing import Optional, Union

from tributary.models import Floats, Tensor

__version__: str

class Round:
    mode: str
    sends_weights: bool
    number: int
    rounds: int
    learning_rate: float
    local_steps: int
    local_time: Optional[float]
    most_local_steps: int
    batch_size: int
    clip_norm: float
    seed: int

class Host:
    """A site's worker, whose work the program does. One thread uses it."""

    def next(self, patience: float) -> Union[Round, str, None]:
        """The next piece of work: a round, or "evaluate"; None: there was none within `patience` seconds."""
    def theta(self) -> Floats:
        """[size of the layout] that the work starts from, read-only, good until the answer."""
    def layout(self) -> list[Tensor]:
        """Of the run, in the order of theta."""
    def put(self, block: int, values: Floats) -> None:
        """[size of the block]: of the gradient, or the weights, whichever the run sends."""
    def took_steps(self, steps: int) -> None:
        """Of a round with a time for local steps."""
    def answer(self, loss: float, metrics: dict[str, float] = {}) -> None: ...
    def skip(self, why: str) -> None: ...
    def evaluate_nothing(self) -> None: ...
    def over(self) -> bool: ...
    def finish(self) -> None:
        """Once it is over or stopped: raises what it ended with."""
    def stop(self, reason: str) -> None: ...

class Worker(Host):
    def __init__(self, file: str, tensors: list[Tensor], knows_frozen: bool, samples: int, once: bool, insecure: bool,
                 connect_timeout: Optional[float]) -> None: ...

class SimulatedSite(Host): ...

class SimulatedRun:
    def __init__(self, text: str, name: str, weights_dir: str) -> None: ...
    def add(self, name: str, tensors: list[Tensor], knows_frozen: bool, samples: int) -> SimulatedSite: ...
    def start(self) -> None: ...
    def wait(self, patience: float) -> bool:
        """Whether it is over within so many seconds."""
    def stop(self, reason: str) -> bool:
        """Whether it is this that ends it."""
    def finish(self) -> None:
        """Raises why it ended, if not with a finished run."""
    def status(self) -> str: ...
    def history(self) -> str: ...
    def model(self) -> bytes: ...

class RunReader:
    def __init__(self, file: str, insecure: bool) -> None: ...
    def status(self, run: str) -> str: ...
    def history(self, run: str) -> str: ...
    def model(self, run: str, round: Optional[int]) -> bytes: ...

class Replica:
    """One process's encoder, aggregator and model: equal updates in, equal bits out."""

    round: int
    def __init__(self, optimizer: str, tensors: list[Tensor], theta: Floats, threads: int) -> None: ...
    def put(self, block: int, values: Floats) -> None:
        """[size of the block] of the gradient."""
    def encode(self, learning_rate: float) -> bytes:
        """The update; empty: the gradient is not finite, or too large to be sent."""
    def step(self, learning_rate: float, updates: list[bytes], own: int) -> None: ...
    def theta(self) -> Floats: ...
    def state_hash(self) -> str: ...
    def residual_norm(self) -> float: ...
    def save(self) -> list[bytes]:
        """State, sums, residual."""
    def restore(self, state: bytes, sums: bytes, residual: bytes) -> None:
        """An empty residual: nothing is left to be sent."""

def encode_weights(tensors: list[Tensor], theta: Floats) -> bytes: ...
def read_weights(path: str, tensors: list[Tensor]) -> Floats: ...
