"""What stands before every request: bounds of the queue, of the body and of its time."""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any

from ecgjepa.serving.counters import Counters
from ecgjepa.serving.limits import Limits

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

RETRY_SECONDS = 1
# So much of a body that is not wanted is read, and so long: a client that is still sending when
# the connection closes may never see the answer.
_DRAIN_SECONDS = 5.0
_BOUNDARY = re.compile(rb"""^multipart/.*;\s*boundary=(?:"([^"]+)"|([^\s;"]+))""", re.I | re.S)
# Bytes that may follow the last boundary: line ends, and what a client adds there.
_AFTER_END = 4096


class Guard:
    """Refuses what is too much before it is read, and counts what is answered."""

    def __init__(self, app: App, limits: Limits, counters: Counters, paths: set[str]) -> None:
        """Take the application, its limits, and the paths that are counted by name."""
        self._app, self._limits, self._counters, self._paths = app, limits, counters, paths

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Pass a request on to the application, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start, status = time.monotonic(), 500

        async def told(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = int(message["status"])
            await send(message)

        try:
            await self._admit(scope, receive, told)
        finally:
            path = scope["path"] if scope["path"] in self._paths else "other"
            self._counters.add_request(path, status, time.monotonic() - start)

    async def _admit(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        most = self._limits.body_bytes
        length = _content_length(scope)
        if length is not None and length > most:
            await _refuse(receive, send, 413, _too_large(most), most)
        elif self._counters.in_flight >= self._limits.requests:
            words = f"{self._limits.requests} requests are worked on or wait; try again"
            await _refuse(receive, send, 503, words, most)
        else:
            self._counters.in_flight += 1
            try:
                await self._app(scope, _Body(receive, self._limits, _boundary(scope)), send)
            finally:
                self._counters.in_flight -= 1


class _Body:
    """The body of a request, as long as it is not too large, not too slow and not cut."""

    def __init__(self, receive: Receive, limits: Limits, end: bytes) -> None:
        self._receive, self._limits = receive, limits
        self._end, self._tail = end, b""
        self._size, self._is_whole = 0, False
        self._deadline = time.monotonic() + limits.upload_seconds

    async def __call__(self) -> Message:
        """Return the next piece.

        Raises:
            HTTPException: If the body is too large or too slow, or ends within a part.
        """
        if self._is_whole:  # Waits for the client to leave.
            return await self._receive()
        try:
            async with asyncio.timeout(self._deadline - time.monotonic()):
                message = await self._receive()
        except TimeoutError:
            words = f"the request did not arrive within {self._limits.upload_seconds:g} s"
            raise _stopped(408, words) from None
        self._size += len(message.get("body", b""))
        self._is_whole = not message.get("more_body", False)
        if self._size > self._limits.body_bytes:
            raise _stopped(413, _too_large(self._limits.body_bytes))
        self._tail = (self._tail + message.get("body", b""))[-len(self._end) - _AFTER_END :]
        is_cut = message["type"] == "http.request" and self._end not in self._tail
        if self._is_whole and is_cut:  # a client that leaves waits for no answer
            # FastAPI would leave out the last part without a word.
            words = "the request ends before the last boundary of its parts; send it again"
            raise _stopped(400, words)
        return message


def _stopped(status: int, words: str) -> Exception:
    """Return what FastAPI answers a request with that it is still reading."""
    from fastapi import HTTPException

    return HTTPException(status, words, {"Connection": "close"})


def _boundary(scope: MutableMapping[str, Any]) -> bytes:
    """Return what the last of several parts ends with; nothing for a body of another kind."""
    told = next((value for name, value in scope["headers"] if name == b"content-type"), b"")
    found = _BOUNDARY.search(told)
    return b"" if found is None else b"--" + (found[1] or found[2]) + b"--"


def _content_length(scope: MutableMapping[str, Any]) -> int | None:
    told = next((value for name, value in scope["headers"] if name == b"content-length"), b"")
    return int(told) if told.isdigit() and len(told) < 20 else None


def _too_large(most: int) -> str:
    return f"a request has at most {most:,} bytes; send fewer files at a time"


async def _refuse(receive: Receive, send: Send, status: int, words: str, most: int) -> None:
    from starlette.responses import JSONResponse

    with suppress(TimeoutError):
        async with asyncio.timeout(_DRAIN_SECONDS):
            size, more = 0, True
            while more and size <= most:
                message = await receive()
                size += len(message.get("body", b""))
                more = message.get("more_body", False)
    headers = {"Connection": "close"}
    if status == 503:
        headers["Retry-After"] = str(RETRY_SECONDS)
    response = JSONResponse({"detail": words}, status, headers)
    await response({"type": "http"}, receive, send)
