"""HTTP with connections that stay open between requests, for one worker each.

Databases of a million small files spend most of their time on new connections otherwise.
"""

import http.client
import re
import socket
import ssl
import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple
from urllib.parse import SplitResult, unquote, urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

from ecgjepa.version import __version__

BLOCK = 1 << 20
# Of silence, after which a connection counts as broken.
TIMEOUT_SECONDS = 60.0
_MOST_REDIRECTS = 5
# A number of bytes or seconds; Python calls ² a digit, too, and reads no number of 5,000 digits.
NUMBER = re.compile(r"[0-9]{1,18}")
# Zenodo refuses clients that do not say who they are.
_HEADERS = {"User-Agent": f"ecgjepa/{__version__}", "Accept-Encoding": "identity"}


class NetworkError(Exception):
    """A request failed in a way that may pass; trying again can help."""


class RefusedError(Exception):
    """A request failed in a way that will not pass by itself."""


class StoppedError(Exception):
    """The run was interrupted."""


class Response(NamedTuple):
    """An answer whose body, if it is wanted, is still to be read.

    Attributes:
        status: HTTP status.
        headers: Of the answer.
        body: Its blocks, as they arrive; raises `NetworkError` if it ends too early.
    """

    status: int
    headers: http.client.HTTPMessage
    body: Iterator[bytes]


class Client:
    """One worker's connections, by server."""

    def __init__(self, stop: threading.Event) -> None:
        """Give up once ``stop``, which all clients of a run share, is set."""
        self._stop = stop
        self._connections: dict[tuple[str, str], http.client.HTTPConnection] = {}

    def get(self, url: str, headers: dict[str, str] | None = None) -> Response:
        """Ask for a file.

        Raises:
            NetworkError: If the server did not answer.
            RefusedError: If it cannot be trusted, or sends in circles.
            StoppedError: If the run was interrupted.
        """
        return self._request("GET", url, headers or {})

    def size(self, url: str) -> int | None:
        """Return the size of a file in bytes, or None if the server does not tell.

        Raises:
            NetworkError: As `get`, like the other errors.
        """
        response = self._request("HEAD", url, {})
        for _ in response.body:  # It is empty, but the connection is not free before it was read.
            pass
        length = response.headers.get("Content-Length", "")
        is_known = response.status == 200 and NUMBER.fullmatch(length)
        return int(length) if is_known else None

    def wait(self, seconds: float) -> None:
        """Wait, unless the run is interrupted."""
        if self._stop.wait(seconds):
            raise StoppedError

    def close(self) -> None:
        """Close the connections; the next request opens new ones."""
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()

    def abort(self) -> None:
        """Stop the run; a request that waits in another thread fails at once."""
        self._stop.set()
        for connection in list(self._connections.values()):
            line = connection.sock
            with suppress(OSError):  # It may be closed already.
                if line is not None:
                    # Not the method of an encrypted socket, which pulls the rug from its reader.
                    socket.socket.shutdown(line, socket.SHUT_RDWR)

    def _request(self, method: str, url: str, headers: dict[str, str]) -> Response:
        place = _address(url)
        for _ in range(_MOST_REDIRECTS + 1):
            answer = self._send(method, place, _HEADERS | headers)
            target = answer.getheader("Location")
            if answer.status not in (301, 302, 303, 307, 308) or target is None:
                return Response(answer.status, answer.headers, self._read(answer))
            self.close()
            place, before = _follow(place, target), place
            if before.scheme == "https" and place.scheme != "https":
                raise RefusedError(
                    f"{shown(before.geturl())} sends to {shown(target)}, which is not encrypted"
                )
        raise RefusedError(f"{shown(url)}: the server sends from one address to the next")

    def _send(
        self, method: str, url: SplitResult, headers: dict[str, str]
    ) -> http.client.HTTPResponse:
        key = (url.scheme, url.netloc)
        if self._stop.is_set():
            raise StoppedError
        while True:
            connection = self._connections.get(key)
            is_fresh = connection is None
            try:
                if connection is None:
                    connection = self._connections[key] = _connect(url)
                connection.request(method, _target(url, connection), headers=headers)
                return connection.getresponse()
            except ssl.SSLCertVerificationError as error:
                raise RefusedError(
                    f"{_host(url)}: its certificate is not trusted: {error.verify_message}. If "
                    "your institution has certificates of its own, name their file in SSL_CERT_FILE"
                ) from None
            except (OSError, http.client.HTTPException) as error:
                self.close()
                if self._stop.is_set():
                    raise StoppedError from None
                # A server may close a connection that was idle; only a fresh one tells something.
                if is_fresh:
                    raise NetworkError(f"{_host(url)}: {_words(error)}") from None

    def _read(self, answer: http.client.HTTPResponse) -> Iterator[bytes]:
        total = left = answer.length
        while left is None or left > 0:
            if self._stop.is_set():
                raise StoppedError
            try:
                block = answer.read1(BLOCK if left is None else min(BLOCK, left))
            except (OSError, http.client.HTTPException) as error:
                raise NetworkError(_words(error)) from None
            if not block:
                break
            if left is not None:
                left -= len(block)
            yield block
        if self._stop.is_set():
            raise StoppedError
        if left and total:
            raise NetworkError(f"the connection was closed after {total - left:,} of {total:,} B")
        # Python before 3.12.2 does not notice by itself that all has been read.
        answer.close()


def shown(url: str) -> str:
    """Return an address as messages show it: without password, key or token, and not too long."""
    return re.sub(r"\?.*", "?…", re.sub(r"//[^/?#]*@", "//", url), flags=re.DOTALL)[:200]


def _address(url: str) -> SplitResult:
    """Return the parts of an address that can be asked for a file.

    Raises:
        RefusedError: If it is none: another scheme, no host, an impossible port or letters.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port  # Raises if it is not a number up to 65535.
    except ValueError as error:
        raise RefusedError(f"{shown(url)!r} is not an address: {shown(str(error))}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise RefusedError(f"{shown(url)!r} is not an address of the web (http or https)")
    if re.search(r"[^\x21-\x7e]", url):
        raise RefusedError(f"{shown(url)!r} has blanks or letters that no address has")
    return parts


def _follow(place: SplitResult, target: str) -> SplitResult:
    """Return where a server sends to; errors as of `_address`."""
    try:
        joined = urljoin(place.geturl(), target)
    except ValueError:
        joined = target
    try:
        return _address(joined)
    except RefusedError as error:
        raise RefusedError(f"{_host(place)} sends elsewhere: {error}") from None


def _host(url: SplitResult) -> str:
    """Return a server's name and port, without a password."""
    return url.netloc.rpartition("@")[2]


def _connect(url: SplitResult) -> http.client.HTTPConnection:
    """Open a connection, through the proxy of the environment if there is one."""
    host = url.hostname or ""
    proxy = None if proxy_bypass(host) else getproxies().get(url.scheme)
    to = urlsplit(proxy if "//" in proxy else f"//{proxy}") if proxy else url
    address, port = to.hostname or host, to.port
    if url.scheme == "http":
        return http.client.HTTPConnection(address, port, timeout=TIMEOUT_SECONDS)
    connection = http.client.HTTPSConnection(address, port, timeout=TIMEOUT_SECONDS)
    if proxy:
        connection.set_tunnel(host, url.port or 443, _credentials(to))
    return connection


def _credentials(proxy: SplitResult) -> dict[str, str]:
    if proxy.username is None:
        return {}
    pair = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return {"Proxy-Authorization": f"Basic {b64encode(pair.encode()).decode()}"}


def _target(url: SplitResult, connection: http.client.HTTPConnection) -> str:
    """Return what to ask for: a proxy for plain HTTP wants the whole address."""
    path = (url.path or "/") + (f"?{url.query}" if url.query else "")
    is_direct = url.scheme == "https" or connection.host == url.hostname
    return path if is_direct else f"{url.scheme}://{_host(url)}{path}"


def _words(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {TIMEOUT_SECONDS:g} s"
    return str(error) or type(error).__name__
