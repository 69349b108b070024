"""Times downloads from a local server that stalls in several ways."""

import contextlib
import os
import socketserver
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fmnist_jax.data import download
from fmnist_jax.errors import UserError

HEAD, HALF = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", bytes(500_000)
# Title -> the delay of the answer in STALL_SECONDS; the answer; whether single bytes
# follow from time to time.
STALLS = {
    "never answers": (0.0, b"", False),
    "answers, then nothing": (0.0, HEAD, False),
    "half, then nothing": (0.0, HEAD + HALF, False),
    "a byte every few seconds": (0.0, HEAD, True),
    "half, then a byte every few seconds": (0.0, HEAD + HALF, True),
    "answers late, then nothing": (0.8, HEAD + b"1", False),
    "answers late, then a byte every few seconds": (0.8, HEAD, True),
}


class _Stalling(socketserver.StreamRequestHandler):
    over: threading.Event

    def handle(self) -> None:
        index = int(self.rfile.readline().split()[1].removeprefix(b"/"))
        delay, answer, trickles = list(STALLS.values())[index]
        with contextlib.suppress(OSError):  # the client has disconnected
            self.over.wait(delay * download.STALL_SECONDS)
            self.wfile.write(answer)
            while not self.over.wait(0.4 * download.STALL_SECONDS):
                self.wfile.write(b"1" * trickles)


def stall(limit: float = 15.0) -> None:
    """Downloads from servers that stall, all at the same time, and prints the times.

    Args:
      limit: the maximum time of a download, in seconds.

    Raises:
      SystemExit: if a download takes longer, has another error or leaves a file.
    """
    os.environ["no_proxy"] = "*"
    _Stalling.over = threading.Event()
    with (
        tempfile.TemporaryDirectory() as root,
        socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Stalling) as server,
        ThreadPoolExecutor(len(STALLS)) as pool,
    ):
        threading.Thread(target=server.serve_forever, args=(0.02,)).start()
        url = f"http://127.0.0.1:{server.server_address[1]}/"
        folders = [Path(root) / str(index) for index in range(len(STALLS))]
        try:
            urls = [url + folder.name for folder in folders]
            results = list(pool.map(_time_download, urls, folders))
        finally:
            _Stalling.over.set()
            server.shutdown()
        files = [path for folder in folders for path in folder.iterdir()]
    for title, (seconds, message) in zip(STALLS, results, strict=True):
        print(f"{title}: {seconds:.1f} s: {message}")
    print(f"files left in the cache: {len(files)}")
    expected = ("the download stalled", "no answer")
    if files or any(
        seconds > limit or not message.startswith(expected)
        for seconds, message in results
    ):
        sys.exit(1)


def _time_download(url: str, folder: Path) -> tuple[float, str]:
    """Returns the time of a download in seconds, and its error message."""
    start, message = time.monotonic(), "NO ERROR"
    try:
        download.fetch({"file": (url, "0" * 64)}, folder)
    except UserError as error:
        message = str(error)
    return time.monotonic() - start, message
