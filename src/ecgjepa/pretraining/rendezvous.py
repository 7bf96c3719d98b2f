"""Where the processes of a run meet: a place that no earlier attempt has written to.

``torchrun`` keeps one key-value store for all its restarts, and PyTorch writes the addresses of the
processes there under the same names each time: after a restart, some read the address of a process
that is dead (pytorch#135712). The number of restarts that ``torchrun`` tells its processes does not
help: each machine counts its own. So the processes agree on a place themselves.
"""

import time
import uuid
from datetime import timedelta

from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

_PAUSE = 0.01  # between two looks of rank 0, in seconds


def meet(rank: int, size: int, timeout: timedelta) -> Store:
    """Wait for all processes of this attempt and return a store that is theirs alone.

    Args:
        rank: Number of this process.
        size: Number of processes.
        timeout: Time that one process waits for another, here and whenever the store is asked.

    Raises:
        TimeoutError: On rank 0, if a process does not come. The others get an error of PyTorch.
    """
    store, _, _ = next(rendezvous("env://", timeout=timeout))
    store.set_timeout(timeout)
    return PrefixStore(agree(store, rank, size, timeout), store)


def agree(store: Store, rank: int, size: int, timeout: timedelta) -> str:
    """Return a name on which the processes that are alive agree, whatever the store holds.

    Every other rank posts a fresh token; rank 0 replies to each token it finds with the name, until
    all have come. Tokens left by dead processes get a reply that no process reads.
    """
    own = uuid.uuid4().hex
    if rank > 0:
        store.set(_word_of(rank), own)
        name = store.get(_answer_to(own)).decode()
        store.set(_arrival(rank, name), "")
        return name
    until = time.monotonic() + timeout.total_seconds()
    for other in range(1, size):
        while not store.check([_arrival(other, own)]):
            if store.check([_word_of(other)]):
                store.set(_answer_to(store.get(_word_of(other)).decode()), own)
            if time.monotonic() > until:
                raise TimeoutError(
                    f"process {other} of {size} did not come within {timeout.total_seconds():g} s"
                )
            time.sleep(_PAUSE)
    return own


def _word_of(rank: int) -> str:
    return f"ecgjepa/word/{rank}"


def _answer_to(word: str) -> str:
    return f"ecgjepa/answer/{word}"


def _arrival(rank: int, name: str) -> str:
    return f"ecgjepa/arrival/{name}/{rank}"
