"""The update algebra as an optimizer of PyTorch, for people who have a cluster of their own. Needs PyTorch."""

from __future__ import annotations

import hashlib
import json
import math
import struct
import warnings
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
    schedulers work. Which parameters require gradients is settled when it is made.
    """

    def __init__(self, params: Iterable[Any], lr: float = 1e-3, *, mode: str = "distro", weight_decay: Optional[float] = None,
                 clip_norm: float = 1.0, beta: Optional[float] = None, k: Optional[int] = None, value_bits: Optional[int] = None,
                 domain: Optional[str] = None, normalize: Optional[bool] = None, commit_k: Optional[int] = None,
                 process_group: Any = None, threads: int = 0) -> None:
        """Takes the weights of the group's first process everywhere, as fp32. All processes of the group call it.

        params: `model.parameters()`, or `model.named_parameters()`, with which `state_hash` is that of a run of this model. Those that
            require no gradient stay as they are, and do not travel.
        mode: "distro", "demo" as published, "signsgd" or "allreduce" (dense, AdamW). It decides which of the others there are, and what
            None means: section `optimizer` of run.yaml has the same under the same names (docs/reference/configuration.md).
        process_group: of torch.distributed; None: the default one, if it has been initialised.
        threads: that share the work; 0: as many as this process may use.

        Raises UsageError for what cannot be; in all processes, if they have different parameters or options.
        """
        given = list(params)
        named = bool(given) and isinstance(given[0], tuple)
        super().__init__([parameter for _, parameter in given] if named else given, {"lr": lr})
        if len(self.param_groups) != 1:
            raise errors.UsageError(f"{len(self.param_groups)} groups of parameters; all must be in one, as they have one learning rate")
        self._group = process_group
        self._parameters = given if named else [(f"param.{number}", parameter)
                                                for number, parameter in enumerate(self.param_groups[0]["params"])]
        chosen = {"mode": mode, "learning_rate": {"peak": lr}, "clip_norm": clip_norm, "weight_decay": weight_decay, "beta": beta, "k": k,
                  "value_bits": value_bits, "domain": domain, "normalize": normalize, "commit_k": commit_k}
        self._tensors = [(name, list(parameter.shape), not parameter.requires_grad) for name, parameter in self._parameters]
        self._agree(lambda: repr((sorted(chosen.items()), self._tensors)).encode(), "have different parameters or options")
        options = json.dumps({key: value for key, value in chosen.items() if value is not None})
        self._replica = _native.Replica(options, self._tensors, self._share_weights(), threads)
        self.bytes_sent = 0
        """Of updates, by this process to each of the others, so far."""

    @property
    def steps(self) -> int:
        """Steps taken, those before a restart too."""
        return self._replica.round

    def step(self, closure: Optional[Callable[[], Any]] = None) -> Any:
        """A step, taken together by all processes of the group; returns the closure's loss.

        A process whose gradient is not finite, or too large to be sent (a norm of 1e18), sends nothing, and takes the others' step. Raises
        UsageError in all processes, and nothing has changed then: they have different learning rates, one of them has none that can be, or
        a parameter was frozen or unfrozen since. Where one of them cannot hand over its gradient for another error, it raises that.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self._agree(lambda: struct.pack("<f", self._take_gradients()), "have different learning rates")
        lr = self._learning_rate()
        update = self._replica.encode(lr)
        own, updates = self._gather(update)
        self._replica.step(lr, updates, own)
        self.bytes_sent += len(update)
        self._write()
        return loss

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Raises UsageError: all parameters are in the one group that it was made with."""
        if hasattr(self, "_replica"):
            raise errors.UsageError("parameters cannot be added to a DistrO; make a new one of all of them")
        super().add_param_group(param_group)

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
        """What a restart needs, tensors all of it. Each process saves its own: `residual` is what it has not sent yet, and `place` whose
        that is, [its rank, processes in the group]."""
        saved: dict[str, Any] = super().state_dict()
        saved["tributary"] = {name: torch.from_numpy(numpy.frombuffer(part, numpy.uint8).copy())
                              for name, part in zip(("state", "sums", "residual"), self._replica.save())}
        saved["tributary"]["place"] = torch.tensor(self._place())
        return saved

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on with the same bits; the parameters, too, become those that were saved.

        The state of another process, or of a group of another size, is taken without its residual, and warnings.warn says so: this process
        begins with nothing left to be sent.

        Raises UsageError: this is not the state of a DistrO; DamagedError: it is of another model or mode.
        """
        saved = dict(state_dict)
        parts = saved.pop("tributary", None)
        if parts is None:
            raise errors.UsageError("this is not the state of a DistrO")
        state, sums, residual = (parts[name].cpu().numpy().tobytes() for name in ("state", "sums", "residual"))
        (rank, size), (own, now) = parts["place"].tolist(), self._place()
        self._replica.restore(state, sums, residual)
        taken_over = (rank, size) == (own, now) or self._replica.residual_norm() == 0
        if not taken_over:
            self._replica.restore(state, sums, b"")
        super().load_state_dict(saved)
        self._write()
        if not taken_over:
            warnings.warn(f"the state was saved by process {rank} of {size}, and this is process {own} of {now}: it begins without a "
                          "residual, and what was not sent yet is lost", stacklevel=2)

    def _learning_rate(self) -> float:
        lr = float(numpy.float32(self.param_groups[0]["lr"]))
        if not (math.isfinite(lr) and lr >= 0):
            raise errors.UsageError(f"the learning rate is {lr}")
        return lr

    def _take_gradients(self) -> float:
        """The learning rate of the step that they are for."""
        for number, ((name, parameter), (_, _, frozen)) in enumerate(zip(self._parameters, self._tensors)):
            if parameter.requires_grad == frozen:
                raise errors.UsageError(f"'{name}' was {'frozen' if frozen else 'not frozen'} when this optimizer was made, and "
                                        f"{'is not' if frozen else 'is'} now; make a new one")
            gradient = parameter.grad
            self._replica.put(number, numpy.zeros(parameter.numel(), numpy.float32) if gradient is None
                              else models.to_fp32(name, gradient).reshape(-1))
        return self._learning_rate()

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

    def _place(self) -> tuple[int, int]:
        """This process's rank in the group, and the group's size."""
        if not self._grouped():
            return 0, 1
        return torch.distributed.get_rank(self._group), torch.distributed.get_world_size(self._group)

    def _share_weights(self) -> models.Floats:
        """The first process's weights, which the parameters have then, too. They travel as fp32: not every backend takes shorter types."""
        shared = []
        for name, parameter in self._parameters:
            array = models.to_fp32(name, parameter)
            if self._grouped():
                first = 0 if self._group is None else torch.distributed.get_global_rank(self._group, 0)
                values = torch.from_numpy(array.copy()).to(self._device())
                torch.distributed.broadcast(values, first, group=self._group)
                if self._place()[0] != 0:
                    with torch.no_grad():
                        parameter.copy_(values)
                array = models.to_fp32(name, values)
            shared.append(array.reshape(-1))
        return numpy.concatenate(shared)

    def _agree(self, prepare: Callable[[], bytes], difference: str) -> None:
        """What each process does before all go on together; what it gives has to be the same everywhere.

        A process in which it fails raises that, and the others UsageError: none is left waiting for it.
        """
        nothing = bytes(hashlib.sha256().digest_size)
        failure, digest = None, nothing
        try:
            digest = hashlib.sha256(prepare()).digest()
        except Exception as error:
            failure = error
        own, told = self._gather_equal(digest)
        if failure is not None:
            raise failure
        failed = [str(rank) for rank, other in enumerate(told) if other == nothing]
        if failed:
            raise errors.UsageError(f"process {', '.join(failed)} cannot go on; its own error says why")
        if any(other != told[own] for other in told):
            raise errors.UsageError(f"the processes {difference}")

    def _gather(self, message: bytes) -> tuple[int, list[bytes]]:
        """This process's place in the group, and the messages of all, in order."""
        own, packed = self._gather_equal(struct.pack("<q", len(message)))
        lengths = [struct.unpack("<q", length)[0] for length in packed]
        if max(lengths) == 0:
            return own, [b"" for _ in lengths]
        _, gathered = self._gather_equal(message.ljust(max(lengths), b"\0"))
        return own, [padded[:length] for padded, length in zip(gathered, lengths)]

    def _gather_equal(self, message: bytes) -> tuple[int, list[bytes]]:
        """The same of messages that have one length in all processes, which is not 0."""
        own, size = self._place()
        if not self._grouped():
            return own, [message]
        sent = torch.from_numpy(numpy.frombuffer(message, numpy.uint8).copy()).to(self._device())
        gathered = [torch.empty_like(sent) for _ in range(size)]
        torch.distributed.all_gather(gathered, sent, group=self._group)
        return own, [values.cpu().numpy().tobytes() for values in gathered]
