"""The parts of the service by themselves: bodies, messages, and work taken together."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ecgjepa.serving.counters import Counters
from ecgjepa.serving.frames import LENGTHS, check_lengths, packed, unpacked
from ecgjepa.serving.guard import Guard
from ecgjepa.serving.limits import Limits
from ecgjepa.serving.together import Together


@settings(deadline=None)  # the first example loads what it needs
@given(
    head=st.dictionaries(st.text().filter(lambda key: key != "shape"), st.integers() | st.text()),
    samples=st.none() | arrays.arrays(np.int16, st.tuples(st.integers(0, 9), st.integers(1, 12))),
)
def test_a_message_says_what_was_said(head, samples):
    message = packed(head, samples)
    length, body = check_lengths(message[: LENGTHS.size], 1000)
    start = LENGTHS.size + length
    assert len(message) == start + body
    told, found = unpacked(message[LENGTHS.size : start], message[start:])
    assert told == head
    assert (found is None) == (samples is None)
    if samples is not None:
        assert np.array_equal(found, samples)


@pytest.mark.parametrize(("head", "body"), [(16_000_001, 0), (10, 1001)])
def test_a_message_that_would_take_much_memory_is_not_read(head, body):
    with pytest.raises(ValueError, match="a message of"):
        check_lengths(LENGTHS.pack(head, body), 1000)


async def answered(limits, receive, headers=()):
    """Return the status of a request, and whether the application had its whole body."""
    sent, seen = [], []

    async def app(_scope, receive, send):
        from fastapi import HTTPException

        status = 200
        try:
            while (message := await receive()).get("more_body"):
                seen.append(message)
        except HTTPException as error:
            status = error.status_code
        await send({"type": "http.response.start", "status": status})

    async def send(message):
        sent.append(message)

    counters = Counters()
    guard = Guard(app, limits, counters, {"/predict"})
    scope = {"type": "http", "method": "POST", "path": "/predict", "headers": list(headers)}
    await guard(scope, receive, send)
    assert counters.in_flight == 0
    assert f'path="/predict",status="{sent[0]["status"]}"}} 1' in counters.text({})
    return sent[0]["status"], seen


def test_a_body_that_comes_too_slowly_is_given_up():
    async def slow():
        await asyncio.sleep(0.03)
        return {"type": "http.request", "body": b"x", "more_body": True}

    status, seen = asyncio.run(answered(Limits(upload_seconds=0.1), slow))
    assert status == 408
    assert 1 <= len(seen) <= 4


def test_a_body_that_grows_too_large_is_given_up_at_once():
    async def large():
        return {"type": "http.request", "body": bytes(400), "more_body": True}

    status, seen = asyncio.run(answered(Limits(body_bytes=1000), large))
    assert (status, len(seen)) == (413, 2)


def test_a_refused_client_that_is_still_sending_can_read_why():
    pieces = [{"type": "http.request", "body": bytes(400), "more_body": more} for more in (1, 0)]

    async def sending():
        return pieces.pop(0)

    told = [(b"content-length", b"99999")]
    status, seen = asyncio.run(answered(Limits(body_bytes=1000), sending, told))
    assert (status, seen, pieces) == (413, [], [])


def test_whatever_waits_is_worked_on_together_and_fails_alone():
    taken = []

    def work(items):
        items = list(items)
        taken.append(items)
        if "bad" in items:
            raise RuntimeError("a bad item")
        return iter([item.upper() for item in items])

    async def ask():
        with ThreadPoolExecutor(1) as thread:
            together = Together(work, thread)
            asked = [["a", "b"], ["bad"], [], ["c"]]
            found = await asyncio.gather(
                *(together.answers(items) for items in asked), return_exceptions=True
            )
            left = asyncio.create_task(together.answers(["d"]))
            await asyncio.sleep(0)
            left.cancel()
            return found, await together.answers(["e"])

    found, last = asyncio.run(ask())
    assert [found[0], found[2], found[3], last] == [["A", "B"], [], ["C"], ["E"]]
    assert str(found[1]) == "a bad item"
    assert taken[0] == ["a", "b", "bad", "c"]
