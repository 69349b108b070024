"""A server on this machine that stalls, and downloads from it, each timed."""

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
# Kind -> when the server answers, in STALL_SECONDS; with what; and whether it goes on
# with a byte every now and then.
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
        which = int(self.rfile.readline().split()[1].removeprefix(b"/"))
        late, answer, trickles = list(STALLS.values())[which]
        with contextlib.suppress(OSError):  # the client has left
            self.over.wait(late * download.STALL_SECONDS)
            self.wfile.write(answer)
            while not self.over.wait(0.4 * download.STALL_SECONDS):
                self.wfile.write(b"1" * trickles)


def stall(most: float = 15.0) -> None:
    """Downloads from a server that stalls, in all ways at once.

    Args:
      most: seconds that each may take.
    """
    os.environ["no_proxy"] = "*"
    _Stalling.over = threading.Event()
    with (
        tempfile.TemporaryDirectory() as folder,
        socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Stalling) as server,
        ThreadPoolExecutor(len(STALLS)) as pool,
    ):
        threading.Thread(target=server.serve_forever, args=(0.02,)).start()
        url = f"http://127.0.0.1:{server.server_address[1]}/"
        folders = [Path(folder) / str(which) for which in range(len(STALLS))]
        try:
            urls = [url + each.name for each in folders]
            ended = list(pool.map(_ended, urls, folders))
        finally:
            _Stalling.over.set()
            server.shutdown()
        left = [path.name for each in folders for path in each.iterdir()]
    for kind, (seconds, said) in zip(STALLS, ended, strict=True):
        print(f"{kind}: {seconds:.1f} s: {said}")
    print(f"files left in the cache: {len(left)}")
    words = ("it stalled", "no answer")
    if left or any(
        seconds > most or not said.startswith(words) for seconds, said in ended
    ):
        sys.exit(1)


def _ended(url: str, folder: Path) -> tuple[float, str]:
    """Returns after how many seconds a download ended, and with what words."""
    start, said = time.monotonic(), "NO ERROR"
    try:
        download.fetch({"file": (url, "0" * 64)}, folder)
    except UserError as error:
        said = str(error)
    return time.monotonic() - start, said
