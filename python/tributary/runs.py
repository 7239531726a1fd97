"""What became of a run: its status, rounds and model, as an operator or auditor may read them."""

from __future__ import annotations

import importlib
import json
import os
import pathlib
from typing import Any, Optional, Union

from tributary import _native


class Run:
    """A run at its coordinator. Reads, and changes nothing."""

    def __init__(self, run: str = "", config: Union[str, os.PathLike[str], None] = None, *, insecure: bool = False) -> None:
        """Names it; the coordinator is asked with each call.

        run: an id, or a name, which means its newest run. Empty: the newest run of all.
        config: the path of an operator.yaml. None: that in the environment variable TRIBUTARY_CONFIG, or `operator.yaml` here.
        insecure: no TLS; to this machine itself only, for trials.

        Raises UsageError, CredentialsError: operator.yaml or its certificates cannot be used.
        """
        self.run = run
        path = config if config is not None else os.environ.get("TRIBUTARY_CONFIG", "operator.yaml")
        self._reader = _native.RunReader(os.fspath(path), insecure)

    def __repr__(self) -> str:
        return f"<run {self.run or '(the newest)'}>"

    def status(self) -> dict[str, Any]:
        """What `tributary run status --format json` prints. UnreachableError, CredentialsError, NotFoundError."""
        status: dict[str, Any] = json.loads(self._reader.status(self.run))
        return status

    def history(self) -> list[dict[str, Any]]:
        """A dict for each round committed so far, as `tributary run history --format json` prints them. Raises as `status`."""
        rounds: list[dict[str, Any]] = json.loads(self._reader.history(self.run)).get("rounds", [])
        return rounds

    def to_pandas(self) -> Any:
        """The history as a pandas.DataFrame, indexed by round. Needs pandas; raises as `status`."""
        pandas = importlib.import_module("pandas")
        rounds = self.history()
        if not rounds:
            return pandas.DataFrame(index=pandas.Index([], name="round"))
        return pandas.json_normalize(rounds).set_index("round")

    def export(self, path: Union[str, os.PathLike[str]], round: Optional[int] = None) -> None:
        """Writes the model after a round as safetensors, as `tributary export` does; `tributary.load` reads it.

        round: 0 is the initial weights; None, the last round committed.

        Raises as `status`; NotFoundError: the run has not come so far; DamagedError: what arrived is not what the run says; OSError.
        """
        pathlib.Path(path).write_bytes(self._reader.model(self.run, round))
