"""Fetches files by https into a cache: checked, in bounded time, all or nothing."""

import contextlib
import hashlib
import http.client
import os
import queue
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from email.message import Message
from pathlib import Path
from typing import IO, Any

from fmnist_jax.errors import UserError, reason

# For DNS, connection and the first answer together; for each silence after that; and
# how far behind MIN_BYTES_PER_SECOND a download may fall. A stall that begins with the
# last byte before the first of these is up ends within twice this: 15 s, with a margin.
STALL_SECONDS = 7.0
MAX_BYTES = 2**26
MIN_BYTES_PER_SECOND = 5_000  # slower than this is a stalled download
_PART = ".part-"  # what the name of a file begins with while it is downloaded


class _HttpsRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to https only (urllib would follow http and ftp too)."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: Message,
        newurl: str,
    ) -> urllib.request.Request | None:
        if not newurl.startswith("https://"):
            fp.close()
            raise UserError(f"redirected to {newurl!r}, which is not https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]


def make_opener() -> urllib.request.OpenerDirector:
    """What opens the URLs; a test may give `fetch` another."""
    return urllib.request.build_opener(_HttpsRedirects())


def fetch(
    files: Mapping[str, tuple[str, str]],
    folder: Path,
    opener: urllib.request.OpenerDirector | None = None,
) -> None:
    """Fetches the files that a folder does not have yet.

    A file appears under its name only when it is complete and its sha256 is right, so
    an interrupted download leaves nothing that another run could take for data. One
    that stalls is given up within 15 s.

    Args:
        files: file name -> (URL, sha256 of the file).
        folder: where they go; made if need be.
        opener: what opens the URLs (for tests); default: https only.

    Raises:
        UserError: it did not work; a few words say why.
    """
    opener = opener or make_opener()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _in_use(folder):
            for name, (url, sha256) in files.items():
                if not _has(folder / name, sha256):
                    _fetch_one(url, sha256, folder / name, opener)
    except urllib.error.HTTPError as error:
        error.close()
        raise UserError(f"the server answered {error.code}") from error
    except TimeoutError as error:
        raise UserError("it stalled") from error
    except urllib.error.URLError as error:
        cause = error.reason
        text = reason(cause) if isinstance(cause, OSError) else str(cause)
        raise UserError(f"no connection: {text}") from error
    except (OSError, http.client.HTTPException) as error:
        raise UserError(reason(error)) from error


@contextlib.contextmanager
def _in_use(folder: Path) -> Iterator[None]:
    """Has others see that something is downloaded to a folder, and leave it alone.

    Where there is no other, it removes what downloads left that were killed. The lock
    is the system's, where it has one: it ends with its process.
    """
    with contextlib.ExitStack() as handles:
        with contextlib.suppress(ImportError, OSError):
            import fcntl

            handle = os.open(folder, os.O_RDONLY)
            handles.callback(os.close, handle)
            with contextlib.suppress(OSError):  # of others
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                for path in folder.glob(f"{_PART}*"):
                    path.unlink()
            fcntl.flock(handle, fcntl.LOCK_SH)
        yield


def _has(path: Path, sha256: str) -> bool:
    if not path.is_file():
        return False
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == sha256


def _fetch_one(
    url: str, sha256: str, path: Path, opener: urllib.request.OpenerDirector
) -> None:
    began = time.monotonic()
    with _begin(url, opener) as response:
        part = tempfile.NamedTemporaryFile(  # noqa: SIM115
            dir=path.parent, prefix=_PART, delete=False
        )
        try:
            with part:
                if _copy(response, part, began) != sha256:
                    raise UserError(f"{path.name} arrived damaged: wrong sha256")
                part.flush()
                os.fsync(part.fileno())
            os.replace(part.name, path)
        finally:
            Path(part.name).unlink(missing_ok=True)  # gone already if all went well


def _begin(url: str, opener: urllib.request.OpenerDirector) -> Any:
    # In a thread, because no timeout of urllib's covers a hanging DNS look-up; a
    # daemon, so that it cannot keep the program from ending.
    answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
    given_up = threading.Event()

    def work() -> None:
        try:
            response = opener.open(url, timeout=STALL_SECONDS)
        except BaseException as error:
            answers.put(error)
            return
        if given_up.is_set():
            response.close()
        answers.put(response)

    threading.Thread(target=work, daemon=True, name="fmnist_jax-download").start()
    try:
        answer = answers.get(timeout=STALL_SECONDS)
    except queue.Empty:
        given_up.set()
        answer = TimeoutError()
    if isinstance(answer, TimeoutError):  # the socket's own may come first
        raise UserError(f"no answer within {STALL_SECONDS:g} s") from None
    if isinstance(answer, BaseException):
        raise answer
    return answer


def _copy(response: Any, part: IO[bytes], began: float) -> str:
    # What comes puts the deadline off as far as it must at the least rate, but never
    # further than STALL_SECONDS: much at once does not make up for a trickle after it.
    deadline, size, digest = began + STALL_SECONDS, 0, hashlib.sha256()
    while chunk := response.read1(2**16):  # read1: what has come, without waiting
        size += len(chunk)
        if size > MAX_BYTES:
            raise UserError(f"the file is larger than {MAX_BYTES:,} bytes")
        now = time.monotonic()
        put_off = deadline + len(chunk) / MIN_BYTES_PER_SECOND
        deadline = min(put_off, now + STALL_SECONDS)
        if now > deadline:
            raise TimeoutError
        digest.update(chunk)
        part.write(chunk)
    return digest.hexdigest()
