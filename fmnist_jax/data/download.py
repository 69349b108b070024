"""Downloads files over https into a cache: complete, verified and in limited time."""

import contextlib
import gzip
import hashlib
import http.client
import threading
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import IO, Any

from fmnist_jax.errors import UserError, reason
from fmnist_jax.files import atomic_write

# The limit for DNS, connection and first answer together, for every later silence, and
# for the delay of a download behind MIN_BYTES_PER_SECOND. If the last byte arrives just
# before the first limit, the download ends within twice this time: 15 s, with a margin.
STALL_SECONDS = 7.0
MAX_BYTES = 2**26
MIN_BYTES_PER_SECOND = 5_000


class _HttpsRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to https only; urllib would follow http and ftp too."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> Any:
        response, url = args[1], args[5]
        if not url.startswith("https://"):
            response.close()
            raise UserError(f"redirected to {url!r}, which is not https")
        return super().redirect_request(*args, **kwargs)


def make_opener() -> urllib.request.OpenerDirector:
    """Returns the opener of URLs, which tests replace."""
    return urllib.request.build_opener(_HttpsRedirects())


def fetch(files: Mapping[str, tuple[str, str]], folder: Path) -> None:
    """Downloads the .gz files that a folder does not have yet.

    ``files`` has the URL and the sha256 of the contents of each, by name. A file gets
    its name only when it is complete and its sha256 is correct, so an interrupted
    download leaves no partial data. A download that stalls is aborted within 15 s.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _remove_incomplete(folder)
        for name, (url, sha256) in files.items():
            if not _is_complete(folder / name, sha256):
                _fetch_one(url, sha256, folder / name)
    except (OSError, http.client.HTTPException) as error:
        text = reason(error)
        if isinstance(error, urllib.error.HTTPError):
            error.close()
            text = f"the server answered {error.code}"
        elif isinstance(error, TimeoutError):
            text = "the download stalled"
        elif isinstance(error, urllib.error.URLError):
            cause = error.reason
            text = reason(cause) if isinstance(cause, OSError) else str(cause)
            text = f"no connection: {text}"
        raise UserError(text) from error


def _remove_incomplete(folder: Path) -> None:
    """Removes files of killed downloads: those that have not grown for minutes."""
    for path in folder.glob(".*.gz.*"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > 60 * STALL_SECONDS:
                path.unlink()


def _is_complete(path: Path, sha256: str) -> bool:
    try:
        with gzip.open(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == sha256
    except (OSError, EOFError, zlib.error):
        return False


def _fetch_one(url: str, sha256: str, path: Path) -> None:
    start = time.monotonic()
    with _open(url) as response, atomic_write(path) as part:
        with open(part, "wb") as file:
            _copy(response, file, start)
        if not _is_complete(part, sha256):
            raise UserError(f"{path.name} arrived damaged: wrong sha256")


def _open(url: str) -> Any:
    # In a thread, because urllib's timeout does not cover a hanging DNS look-up. As a
    # daemon, the thread cannot keep the process alive.
    answer: Future[Any] = Future()

    def work() -> None:
        try:
            answer.set_result(make_opener().open(url, timeout=STALL_SECONDS))
        except BaseException as error:
            answer.set_exception(error)

    threading.Thread(target=work, daemon=True, name="fmnist_jax-download").start()
    try:
        return answer.result(timeout=STALL_SECONDS)
    except TimeoutError:  # the timeout here, or the socket's
        answer.add_done_callback(lambda late: late.exception() or late.result().close())
        raise UserError(f"no answer within {STALL_SECONDS:g} s") from None


def _copy(response: Any, file: IO[bytes], start: float) -> None:
    # Each chunk extends the deadline by its time at the minimum speed, but never beyond
    # STALL_SECONDS from now: a burst does not compensate for a trickle after it.
    deadline, size = start + STALL_SECONDS, 0
    while chunk := response.read1(2**16):  # read1 returns what has arrived
        size += len(chunk)
        if size > MAX_BYTES:
            raise UserError(f"the file is larger than {MAX_BYTES:,} bytes")
        now = time.monotonic()
        extended = deadline + len(chunk) / MIN_BYTES_PER_SECOND
        deadline = min(extended, now + STALL_SECONDS)
        if now > deadline:
            raise TimeoutError
        file.write(chunk)
