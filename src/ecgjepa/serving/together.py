"""Requests that wait at the same time pass through the model together."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from itertools import chain, islice
from typing import Generic, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Together(Generic[Item, Answer]):
    """Work that is quicker for many items than for each by itself, and done by one thread.

    While some items are worked on, others may arrive; they are taken together next.
    """

    def __init__(
        self, work: Callable[[Iterable[Item]], Iterator[Answer]], thread: Executor
    ) -> None:
        """Take what answers items in their order, and the thread that does it."""
        self._work, self._thread = work, thread
        self._waiting: list[tuple[Sequence[Item], asyncio.Future[list[Answer]]]] = []
        self._task: asyncio.Task[None] | None = None

    async def answers(self, items: Sequence[Item]) -> list[Answer]:
        """Return the answer to each item, in order.

        Raises:
            Exception: Whatever the work on these items ends with.
        """
        future: asyncio.Future[list[Answer]] = asyncio.get_running_loop().create_future()
        self._waiting.append((items, future))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._empty())
        return await future

    async def _empty(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            taken, self._waiting = self._waiting, []
            jobs = [items for items, _ in taken]
            found = await loop.run_in_executor(self._thread, self._run, jobs)
            for (_, future), answers in zip(taken, found, strict=True):
                if future.done():  # Nobody waits any more.
                    continue
                if isinstance(answers, Exception):
                    future.set_exception(answers)
                else:
                    future.set_result(answers)

    def _run(self, jobs: list[Sequence[Item]]) -> list[list[Answer] | Exception]:
        """Work on all jobs at once, or on each alone where one of them fails."""
        try:
            answers = self._work(chain.from_iterable(jobs))
            return [list(islice(answers, len(items))) for items in jobs]
        except Exception:
            return [self._run_alone(items) for items in jobs]

    def _run_alone(self, items: Sequence[Item]) -> list[Answer] | Exception:
        try:
            return list(self._work(items))
        except Exception as error:
            return error
