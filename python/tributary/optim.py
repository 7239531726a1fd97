"""The update algebra as an optimizer of PyTorch, for people who have a cluster of their own. Needs PyTorch."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from typing import Any, Optional, Union

import numpy
import torch
import torch.distributed

from tributary import _native, errors, models


class DistrO(torch.optim.Optimizer):
    """Data-parallel training whose processes exchange compressed updates: `step` encodes this process's gradient, gathers all processes'
    updates over torch.distributed, aggregates them and applies the result.

    After DeMo (Peng, Quesnelle, Kingma, arXiv 2411.19870), with the few-bit values and integer sums of a Tributary run, which this is
    without a coordinator: every process ends each step with the same bits, whatever its hardware and threads (`state_hash`). Without a
    process group it is an optimizer for one process. No DistributedDataParallel around the model: this replaces its exchange.

        optimizer = tributary.optim.DistrO(model.parameters(), lr=1e-3, k=64)
        loss.backward()
        optimizer.step()

    The parameters may be of any floating-point type and on any device; the algebra works on fp32 values on the processor. Each `step`
    writes all of them anew: what else changes them is lost. One group of parameters, and one learning rate, the same in all processes;
    schedulers work.
    """

    def __init__(self, params: Iterable[Any], lr: float = 1e-3, *, mode: str = "distro", weight_decay: Optional[float] = None,
                 clip_norm: float = 1.0, beta: Optional[float] = None, k: Optional[int] = None, value_bits: Optional[int] = None,
                 domain: Optional[str] = None, normalize: Optional[bool] = None, commit_k: Optional[int] = None,
                 process_group: Any = None, threads: int = 0) -> None:
        """Takes the weights of the group's first process everywhere.

        params: `model.parameters()`, or `model.named_parameters()`, with which `state_hash` is that of a run of this model. Those that
            require no gradient stay as they are, and do not travel.
        mode: "distro", "demo" as published, "signsgd" or "allreduce" (dense, AdamW). It decides which of the others there are, and what
            None
            means: section `optimizer` of run.yaml has the same under the same names (docs/reference/configuration.md).
        process_group: of torch.distributed; None: the default one, if it has been initialised.
        threads: that share the work; 0: as many as this process may use.

        Raises UsageError for what cannot be.
        """
        given = list(params)
        named = bool(given) and isinstance(given[0], tuple)
        super().__init__([parameter for _, parameter in given] if named else given, {"lr": lr})
        if len(self.param_groups) != 1:
            raise errors.UsageError(f"{len(self.param_groups)} groups of parameters; all must be in one, as they have one learning rate")
        self._group = process_group
        self._parameters = given if named else [(f"param.{number}", parameter)
                                                for number, parameter in enumerate(self.param_groups[0]["params"])]
        self._share_weights()
        chosen = {"mode": mode, "learning_rate": {"peak": lr}, "clip_norm": clip_norm, "weight_decay": weight_decay, "beta": beta, "k": k,
                  "value_bits": value_bits, "domain": domain, "normalize": normalize, "commit_k": commit_k}
        tensors = [(name, list(parameter.shape), not parameter.requires_grad) for name, parameter in self._parameters]
        theta = numpy.concatenate([models.to_fp32(name, parameter).reshape(-1) for name, parameter in self._parameters])
        self._tensors = tensors
        options = json.dumps({key: value for key, value in chosen.items() if value is not None})
        self._replica = _native.Replica(options, tensors, theta, threads)
        self.bytes_sent = 0
        """Of updates, by this process to each of the others, so far."""

    @property
    def steps(self) -> int:
        """Steps taken, those before a restart too."""
        return self._replica.round

    def step(self, closure: Optional[Callable[[], Any]] = None) -> Any:
        """A step, taken together by all processes of the group; returns the closure's loss.

        A process whose gradient is not finite sends nothing, and takes the others' step. Raises UsageError, in all processes: they have
        different learning rates, or, at the first step, different weights or options.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        lr = float(numpy.float32(self.param_groups[0]["lr"]))
        if not (math.isfinite(lr) and lr >= 0):
            raise errors.UsageError(f"the learning rate is {lr}")
        for number, (name, parameter) in enumerate(self._parameters):
            gradient = parameter.grad
            self._replica.put(number, numpy.zeros(parameter.numel(), numpy.float32) if gradient is None
                              else models.to_fp32(name, gradient).reshape(-1))
        update = self._replica.encode(lr)
        own, updates = self._gather(numpy.float32(lr).tobytes() + update)
        if any(other[:4] != updates[own][:4] for other in updates):
            raise errors.UsageError(f"the processes have different learning rates; here it is {lr}")
        self._replica.step(lr, [other[4:] for other in updates], own)
        self.bytes_sent += len(update)
        self._write()
        return loss

    def state_hash(self) -> str:
        """SHA-256 of the state, hexadecimal: equal in all processes."""
        return self._replica.state_hash()

    def check_replicas(self) -> None:
        """Compares the state of all processes; all call it. Raises Error: they differ, for a defect or failing memory."""
        own, hashes = self._gather(self.state_hash().encode())
        different = [rank for rank, other in enumerate(hashes) if other != hashes[own]]
        if different:
            raise errors.Error(f"process {own} holds another state than {', '.join(map(str, different))}")

    def state_dict(self) -> dict[str, Any]:
        """What a restart needs, tensors all of it. Each process saves its own: `residual` is what it has not sent yet."""
        saved: dict[str, Any] = super().state_dict()
        saved["tributary"] = {name: torch.from_numpy(numpy.frombuffer(part, numpy.uint8).copy())
                              for name, part in zip(("state", "sums", "residual"), self._replica.save())}
        return saved

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on with the same bits; the parameters, too, become those that were saved. DamagedError: of another model or mode."""
        saved = dict(state_dict)
        parts = saved.pop("tributary", None)
        if parts is None:
            raise errors.UsageError("this is not the state of a DistrO")
        self._replica.restore(*(parts[name].cpu().numpy().tobytes() for name in ("state", "sums", "residual")))
        super().load_state_dict(saved)
        self._write()

    def _write(self) -> None:
        values = models.split(self._replica.theta(), self._tensors)
        with torch.no_grad():
            for name, parameter in self._parameters:
                if parameter.requires_grad:
                    # torch would warn that the replica's array is read-only.
                    parameter.copy_(torch.from_numpy(values[name].copy()))

    def _grouped(self) -> bool:
        return bool(torch.distributed.is_available() and torch.distributed.is_initialized())

    def _device(self) -> Union[str, Any]:
        """Where the group's backend takes tensors from."""
        return self._parameters[0][1].device if torch.distributed.get_backend(self._group) == "nccl" else "cpu"

    def _share_weights(self) -> None:
        if self._grouped():
            first = 0 if self._group is None else torch.distributed.get_global_rank(self._group, 0)
            with torch.no_grad():
                for _, parameter in self._parameters:
                    values = parameter.detach().to(self._device()).contiguous()
                    torch.distributed.broadcast(values, first, group=self._group)
                    parameter.copy_(values)

    def _gather(self, message: bytes) -> tuple[int, list[bytes]]:
        """This process's place in the group, and the messages of all, in order."""
        if not self._grouped():
            return 0, [message]
        size = torch.distributed.get_world_size(self._group)
        device = self._device()
        lengths = [torch.zeros(1, dtype=torch.int64, device=device) for _ in range(size)]
        torch.distributed.all_gather(lengths, torch.tensor([len(message)], dtype=torch.int64, device=device), group=self._group)
        longest = max(int(length) for length in lengths)
        padded = torch.from_numpy(numpy.frombuffer(message.ljust(longest, b"\0"), numpy.uint8).copy()).to(device)
        gathered = [torch.empty(longest, dtype=torch.uint8, device=device) for _ in range(size)]
        torch.distributed.all_gather(gathered, padded, group=self._group)
        return (torch.distributed.get_rank(self._group),
                [values[:int(length)].cpu().numpy().tobytes() for values, length in zip(gathered, lengths)])
