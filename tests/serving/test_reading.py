"""Processes that read files are replaced when they take too long or end."""

import asyncio
import os
import signal
from dataclasses import replace

import numpy as np
import pytest
from conftest import toy_ecg, write_wfdb

from ecgjepa.errors import RecordError, ServiceError
from ecgjepa.serving.limits import Limits
from ecgjepa.serving.reading import Readers
from ecgjepa.signals.preprocessing import PreprocessingConfig


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("request")
    write_wfdb(folder / "x.hea", toy_ecg(np.random.default_rng(0)))
    write_wfdb(folder / "y.hea", toy_ecg(np.random.default_rng(1)))
    return folder


FILES = ["x.hea", "x.dat", "y.hea", "y.dat"]


def reasons(read):
    return [found.reason if isinstance(found, RecordError) else None for _, found in read.records]


async def with_reader(work):
    readers = Readers(1, PreprocessingConfig(sampling_rate=100.0), Limits())
    await readers.start()
    try:
        await work(readers)
    finally:
        await readers.stop()


async def process_of(readers):
    reader = await readers._idle.get()
    readers._idle.put_nowait(reader)
    return reader._process


def test_a_reader_that_is_late_or_ends_is_replaced(folder):
    async def work(readers):
        read = await readers.read(folder, FILES, "skip")
        assert reasons(read) == [None, None]
        assert [name for name, _ in read.records] == ["x.hea", "y.hea"]
        assert read.beside == ["x.dat", "y.dat"]
        first = await process_of(readers)
        # One that does not answer is late, and another one takes its place.
        readers._limits = replace(Limits(), seconds=0.2)
        os.kill(first.pid, signal.SIGSTOP)
        read = await readers.read(folder, FILES, "skip")
        assert reasons(read) == ["time_limit"] * 4
        assert "takes longer than 0.2 s" in str(read.records[0][1])
        assert first.returncode == -signal.SIGKILL
        readers._limits = Limits()
        assert reasons(await readers.read(folder, FILES, "skip")) == [None, None]
        # One that ends meanwhile, as the system ends what takes too much memory.
        second = await process_of(readers)
        assert second.pid != first.pid
        os.kill(second.pid, signal.SIGSTOP)
        asked = asyncio.create_task(readers.read(folder, FILES, "skip"))
        await asyncio.sleep(0.1)
        os.kill(second.pid, signal.SIGKILL)
        assert set(reasons(await asked)) == {"reader_ended"}
        assert readers.ended == {"time_limit": 1, "reader_ended": 1}
        # One that ended while nobody asked is not the fault of who asks next.
        assert reasons(await readers.read(folder, FILES, "skip")) == [None, None]
        third = await process_of(readers)
        third.kill()
        await third.wait()
        assert reasons(await readers.read(folder, FILES, "skip")) == [None, None]

    asyncio.run(with_reader(work))


def test_a_request_that_is_given_up_leaves_no_half_told_reader(folder):
    async def work(readers):
        process = await process_of(readers)
        os.kill(process.pid, signal.SIGSTOP)
        asked = asyncio.create_task(readers.read(folder, FILES, "skip"))
        await asyncio.sleep(0.1)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        assert process.returncode == -signal.SIGKILL
        assert reasons(await readers.read(folder, ["y.hea", "y.dat"], "skip")) == [None]

    asyncio.run(with_reader(work))


def test_a_reader_that_cannot_start_is_told_of_and_the_next_one_tried(folder, monkeypatch):
    async def work(readers):
        process = await process_of(readers)
        process.kill()
        await process.wait()
        with monkeypatch.context() as patch:
            patch.setattr("sys.executable", "false")
            with pytest.raises(ServiceError, match="does not start"):
                await readers.read(folder, FILES, "skip")
        assert reasons(await readers.read(folder, FILES, "skip")) == [None, None]

    asyncio.run(with_reader(work))
