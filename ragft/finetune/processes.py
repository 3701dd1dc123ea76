"""Training in several processes, one for each device: what they agree on, and who says what is next.

`python -m torch.distributed.run --nproc_per_node N -m ragft finetune` starts them. The first one, the leader, is the
program: it makes the rows, reads and writes the workspace, speaks, and hands the others each training to take part in.
A follower computes its share of every step's rows and adds its gradients to the sum; it writes nothing.

Gradients are summed by all-reduce, in which every process receives the same sums, so that all take the same steps.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any

import torch

from ragft.errors import RagftError

_WAIT = timedelta(days=7)
"""How long a process waits for another: the leader may index for hours before it trains. One that ends is noticed by
the launcher, which ends the others."""

_SUMMED_AT_ONCE = 2**25
"""Elements that are copied together for a sum: each sum costs a message, and the copy memory."""


@dataclass(frozen=True)
class Processes:
    """This process among `count` that train together; `rank` 0 is the leader.

    Attributes:
        local, here: the number of this process and the count of all on this machine.
    """

    rank: int = 0
    count: int = 1
    local: int = 0
    here: int = 1

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def tell(self, value: Any = None) -> Any:
        """The leader's value, in every process."""
        if self.count == 1:
            return value
        box = [value]
        torch.distributed.broadcast_object_list(box, src=0, device=torch.device("cpu"))
        return box[0]

    def all_of(self, value: Any) -> list[Any]:
        """The values of all processes, by rank."""
        if self.count == 1:
            return [value]
        values: list[Any] = [None] * self.count
        torch.distributed.all_gather_object(values, value)
        return values

    def sum(self, tensors: Sequence[torch.Tensor]) -> None:
        """Replaces tensors of one dtype by their sums over all processes, in place."""
        for group in _groups(tensors) if self.count > 1 else ():
            flat = torch.cat([tensor.reshape(-1) for tensor in group])
            torch.distributed.all_reduce(flat)
            for tensor, part in zip(group, flat.split([tensor.numel() for tensor in group]), strict=True):
                tensor.copy_(part.view_as(tensor))

    def copy(self, tensors: Iterable[torch.Tensor]) -> None:
        """Replaces tensors by those of the leader, in place."""
        for tensor in tensors if self.count > 1 else ():
            torch.distributed.broadcast(tensor, src=0)


def _groups(tensors: Sequence[torch.Tensor]) -> Iterable[list[torch.Tensor]]:
    group, elements = list[torch.Tensor](), 0
    for tensor in tensors:
        if group and elements + tensor.numel() > _SUMMED_AT_ONCE:
            yield group
            group, elements = [], 0
        group.append(tensor)
        elements += tensor.numel()
    if group:
        yield group


def launched() -> int:
    """How many processes the launcher started; 1 without one."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "TORCHELASTIC_RUN_ID" in os.environ else 1


@cache
def processes() -> Processes:
    """This process among those that the launcher started; waits for the others the first time."""
    if launched() == 1:
        return Processes()
    # Objects and losses go through memory of the processor, gradients over the connection between cards.
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    torch.distributed.init_process_group(backend, timeout=_WAIT)
    known = os.environ
    return Processes(int(known["RANK"]), launched(), int(known["LOCAL_RANK"]), int(known["LOCAL_WORLD_SIZE"]))


@dataclass(frozen=True)
class Training:
    """A training that the leader asks the others to take part in: the arguments of `Run`, by its back end's class."""

    back_end: type
    arguments: tuple[Any, ...]


def follow() -> None:
    """Takes part in every training that the leader begins, until it says that there are no more.

    Raises:
        RagftError: this process alone cannot go on; the launcher then ends the others.
    """
    group = processes()
    while (training := group.tell()) is not None:
        run = begun(training)
        if run is None:
            continue
        try:
            while group.tell():
                run.advance()
        finally:
            run.close()


def begun(training: Training) -> Any:
    """The run of a training, begun in every process; None in a follower where it cannot begin.

    Raises:
        RagftError: in the leader, that of the first process where it cannot begin.
    """
    group, run, error = processes(), None, None
    try:
        run = training.back_end(*training.arguments)
    except RagftError as refused:
        error = refused
    first = next((refused for refused in group.all_of(error) if refused is not None), None)
    if first is None and run is not None:
        run.join()
        return run
    if run is not None:
        run.close()
    if group.leads:
        raise error or first or RagftError("A process could not begin the training.")
    return None


def end() -> None:
    """Tells the followers that there are no more trainings."""
    processes().tell(None)
