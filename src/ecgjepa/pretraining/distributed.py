"""The processes that share a run: those ``torchrun`` started, or the only one there is.

Everything here is the identity for a world of one, which has no process group. Tensors on a GPU
travel by NCCL, those on the CPU by gloo: questions about the run never wait for a GPU, and gloo
notices at once when a process is gone.
"""

import logging
import os
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ecgjepa.errors import ConfigError, RankDriftError
from ecgjepa.model.compute import choose_device
from ecgjepa.pretraining.rendezvous import meet
from ecgjepa.pretraining.stopping import RunStopped

# How long a process waits for the others, in seconds: longer than rank 0 takes for a checkpoint
# or a probe.
TIMEOUT_VARIABLE, _TIMEOUT = "ECGJEPA_TIMEOUT", 600.0
_PATIENCE_WITH_GLOO = 5.0  # seconds
_TORCHRUN_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR")

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class World:
    """This process and its number among those that share the run.

    Attributes:
        device: Device of this process.
        rank: Number of this process; rank 0 writes files and reports.
        size: Number of processes.
    """

    device: torch.device
    rank: int = 0
    size: int = 1

    @classmethod
    def from_environment(cls, device: str = "auto") -> "World":
        """Return the world that ``torchrun`` describes in the environment, or a world of one.

        Args:
            device: ``auto``, ``cpu`` or ``cuda``: the GPU of this process' number on its machine.

        Raises:
            ConfigError: If the device cannot be used, or a machine has fewer GPUs than processes.
        """
        chosen = choose_device(device)
        if not all(name in os.environ for name in _TORCHRUN_VARIABLES):
            return cls(chosen)
        rank, size, local_rank = (int(os.environ[name]) for name in _TORCHRUN_VARIABLES[:3])
        if size > 1 and chosen.type == "cuda":
            if local_rank >= (found := torch.cuda.device_count()):
                raise ConfigError(
                    f"process {local_rank} of this machine finds {found} GPUs: start torchrun with "
                    f"--nproc-per-node {found}, or use --device cpu"
                )
            chosen = torch.device("cuda", local_rank)
        return cls(chosen, rank, size)

    @property
    def is_first(self) -> bool:
        """Whether this process writes and reports."""
        return self.rank == 0

    @contextmanager
    def group(self) -> Iterator[None]:
        """Connect the processes while the block runs.

        After an exception the group is not dismantled: that needs all processes, and one of them
        may be gone.
        """
        if self.size == 1:
            yield
            return
        if not self.is_first:
            logging.getLogger("ecgjepa").setLevel(logging.WARNING)
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device)
        timeout = timedelta(seconds=float(os.environ.get(TIMEOUT_VARIABLE, _TIMEOUT)))
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if self.device.type == "cuda" else "gloo",
            timeout=timeout,
            store=meet(self.rank, self.size, timeout),
            rank=self.rank,
            world_size=self.size,
        )
        try:
            yield
        except RunStopped:  # on all of them, at the same step
            dist.destroy_process_group()
            raise
        dist.destroy_process_group()

    def distribute(self, module: nn.Module) -> nn.Module:
        """Return the module so that its backward pass averages gradients over all processes."""
        if self.size == 1:
            return module
        distributed = DistributedDataParallel(module, gradient_as_bucket_view=True)
        # All processes compute the same buffers. Set here, for PyTorch is giving the constructor's
        # argument of this name another.
        distributed.broadcast_buffers = False
        return distributed

    def synchronising(self, module: nn.Module, wanted: bool) -> AbstractContextManager[None]:
        """Return the context of a forward and backward pass, with or without that averaging.

        Args:
            module: Module that `distribute` returned, or what `torch.compile` made of it.
            wanted: Whether this pass averages, because it is the last of a step.
        """
        if wanted or self.size == 1:
            return nullcontext()
        distributed = (m for m in module.modules() if isinstance(m, DistributedDataParallel))
        return next(distributed).no_sync()

    def barrier(self) -> None:
        """Wait until all processes are here."""
        self.any(False)

    def any(self, value: bool) -> bool:
        """Return on all processes whether it is true on any."""
        if self.size == 1:
            return value
        flag = torch.tensor(int(value))
        dist.all_reduce(flag, dist.ReduceOp.MAX)
        result, held = bool(flag), weakref.ref(flag)
        # The answer can be here before a thread of gloo has let go of the tensor. If it does so
        # while Python ends, the process aborts and a finished run counts as failed; the last
        # exchange of a run is one of these (docs/decisions/0024).
        del flag
        until = time.monotonic() + _PATIENCE_WITH_GLOO
        while held() is not None and time.monotonic() < until:
            time.sleep(0)
        return result

    def decide(self, question: Callable[[], Answer]) -> Answer:
        """Return rank 0's answer on all processes, which may see a network disk differently."""
        if self.size == 1:
            return question()
        answer = [question() if self.is_first else None]
        dist.broadcast_object_list(answer, src=0, device=torch.device("cpu"))
        return answer[0]  # type: ignore[return-value]

    def mean(self, values: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return the mean over processes, the same bits on all."""
        if self.size == 1:
            return values
        total = values.clone()
        dist.all_reduce(total)
        return total / self.size

    def check_same(self, tensors: Mapping[str, Tensor], step: int) -> None:
        """Make sure that all processes hold the same tensors, by a checksum of each.

        Raises:
            RankDriftError: If they do not, on all of them.
        """
        if self.size == 1:
            return
        # Integer sums of the bits do not depend on an order of summation.
        sums = [
            tensor.detach().contiguous().view(torch.int32).sum(dtype=torch.int64)
            for tensor in tensors.values()
        ]
        least = torch.stack(sums).cpu()
        greatest = least.clone()
        dist.all_reduce(least, dist.ReduceOp.MIN)
        dist.all_reduce(greatest, dist.ReduceOp.MAX)
        differing = [name for name, bad in zip(tensors, least != greatest, strict=True) if bad]
        if differing:
            raise RankDriftError(
                f"step {step}: the {self.size} processes of this run hold different weights "
                f"({len(differing)} of {len(sums)} tensors, first {differing[0]}). They were not "
                "saved: the same command resumes from the last checkpoint. If it happens again, "
                "suspect the memory of a machine, or different software on them"
            )
