"""Downloads from a server on this machine: complete and verified, or nothing."""

import gzip
import http.server
import itertools
import os
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import stalling
from fmnist_jax.data import download, idx, load
from fmnist_jax.data.official import OFFICIAL
from fmnist_jax.errors import UserError
from tests.data.data_files import (
    Arrays,
    _empty_locations,  # noqa: F401 (autouse)
    assert_equal,
    encode,
    error_of,
    make_arrays,
    make_official,
)


class _Handler(http.server.BaseHTTPRequestHandler):
    files: dict[str, bytes]  # bodies by path
    stalled: threading.Event | None = None  # if given, a response stops until it is set
    extra_length: int = 0  # added to the true Content-Length

    def do_GET(self) -> None:
        if self.path.startswith("/round/"):
            self.send_response(302)
            self.send_header("Location", self.path)
            self.end_headers()
            return
        if self.path.startswith("/moved/"):
            self.send_response(302)
            self.send_header("Location", self.path.replace("/moved/", "/"))
            self.end_headers()
            return
        if self.path not in self.files:
            self.send_error(404)
            return
        body = self.files[self.path]
        self.send_response(200)
        self.send_header("Content-Length", str(len(body) + self.extra_length))
        self.end_headers()
        self.wfile.write(body[:5])
        if self.stalled:
            self.stalled.wait(10)
        else:
            self.wfile.write(body[5:])

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Arrays:
    """Small arrays with the check sums of Fashion-MNIST replaced by theirs."""
    arrays = make_arrays()
    make_official(monkeypatch, "fashion_mnist", arrays)
    return arrays


@pytest.fixture
def server(small: Arrays, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[_Handler]]:
    """Serves them at the address from which the library downloads."""
    bodies = {role: gzip.compress(encode(array), 1) for role, array in small.items()}

    class Handler(_Handler):
        pass

    Handler.files = {f"/{idx.FILES[role]}.gz": body for role, body in bodies.items()}
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, args=(0.02,)).start()
        offered = OFFICIAL["fashion_mnist"]._replace(
            url=f"http://127.0.0.1:{running.server_port}/",
        )
        monkeypatch.setitem(OFFICIAL, "fashion_mnist", offered)
        monkeypatch.setenv("FMNIST_JAX_OFFLINE", "0")
        monkeypatch.setenv("no_proxy", "*")
        yield Handler
        running.shutdown()


def cached(tmp_path: Path) -> list[str]:
    folder = tmp_path / "XDG_CACHE_HOME" / "fmnist_jax" / "fashion_mnist"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_only_https_is_in_the_table() -> None:
    assert all(data_set.url.startswith("https://") for data_set in OFFICIAL.values())


def test_download_fills_the_cache_once(
    server: type[_Handler], small: Arrays, tmp_path: Path
) -> None:
    data = load()
    assert_equal(data, small)
    assert data.source.startswith("download to ")
    assert cached(tmp_path) == sorted(f"{name}.gz" for name in idx.FILES.values())
    server.files = {}
    again = load("fashion_mnist")
    assert again.source.startswith("IDX files in ")
    assert again.fingerprint == data.fingerprint


def test_a_download_resumes_and_replaces_damaged_files(
    server: type[_Handler], small: Arrays, tmp_path: Path
) -> None:
    all_files, last = dict(server.files), "/t10k-labels-idx1-ubyte.gz"
    server.files = {path: all_files[path] for path in all_files if path != last}
    assert "the server answered 404" in error_of("fashion_mnist")
    assert len(cached(tmp_path)) == 3
    folder = tmp_path / "XDG_CACHE_HOME" / "fmnist_jax" / "fashion_mnist"
    (folder / "train-labels-idx1-ubyte.gz").write_bytes(b"damaged")
    server.files = {path: all_files[path] for path in (last, *list(all_files)[1:2])}
    assert_equal(load("fashion_mnist"), small)


def test_damaged_downloads_leave_nothing(
    server: type[_Handler], tmp_path: Path
) -> None:
    server.files = dict.fromkeys(server.files, b"<html>Log in</html>")
    assert "arrived damaged: wrong sha256" in error_of("fashion_mnist")
    assert "arrived damaged" in load(train_examples=1, test_examples=1).notice
    assert cached(tmp_path) == []


@pytest.mark.parametrize(("extra", "cut"), [(-9, 0), (0, 9), (10**12, 9)])
def test_truncated_downloads_and_wrong_sizes_leave_nothing(
    extra: int, cut: int, server: type[_Handler], tmp_path: Path
) -> None:
    server.extra_length = extra + cut
    server.files = {
        path: body[: len(body) - cut] for path, body in server.files.items()
    }
    start = time.monotonic()
    assert "arrived damaged: wrong sha256" in error_of("fashion_mnist")
    assert time.monotonic() - start < 15
    assert cached(tmp_path) == []


def test_redirects_in_a_circle_end(
    server: type[_Handler], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Circle(urllib.request.HTTPRedirectHandler):
        """Follows redirects to http too, as this server has no https."""

    offered = OFFICIAL["fashion_mnist"]
    offered = offered._replace(url=f"{offered.url}round/")
    monkeypatch.setitem(OFFICIAL, "fashion_mnist", offered)
    opener = urllib.request.build_opener(Circle())
    monkeypatch.setattr(download, "make_opener", lambda: opener)
    start = time.monotonic()
    assert "the server answered 302" in error_of("fashion_mnist")
    assert time.monotonic() - start < 15
    assert cached(tmp_path) == []


def test_large_downloads_are_refused(
    server: type[_Handler], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "MAX_BYTES", 1000)
    assert "larger than 1,000 bytes" in error_of("fashion_mnist")
    assert cached(tmp_path) == []


def test_redirects_are_followed_to_https_only(
    server: type[_Handler], monkeypatch: pytest.MonkeyPatch
) -> None:
    offered = OFFICIAL["fashion_mnist"]
    moved = offered._replace(url=f"{offered.url}moved/")
    monkeypatch.setitem(OFFICIAL, "fashion_mnist", moved)
    line = error_of("fashion_mnist")
    assert "redirected to 'http://127.0.0.1" in line
    assert "not https" in line


def test_stalled_downloads_end(
    server: type[_Handler], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.stalled = threading.Event()
    monkeypatch.setattr(download, "STALL_SECONDS", 0.5)
    assert "the download stalled" in error_of("fashion_mnist")
    server.stalled.set()
    assert cached(tmp_path) == []


def test_slow_downloads_end(
    server: type[_Handler], monkeypatch: pytest.MonkeyPatch
) -> None:
    times = itertools.count(0, 20)  # every call is twenty seconds later
    clock = SimpleNamespace(monotonic=lambda: next(times))
    monkeypatch.setattr(download, "time", clock)
    monkeypatch.setattr(download, "MIN_BYTES_PER_SECOND", 10**6)
    assert "the download stalled" in error_of("fashion_mnist")
    monkeypatch.setattr(download, "MIN_BYTES_PER_SECOND", 0.001)
    assert load("fashion_mnist").source.startswith("download to ")


@pytest.mark.slow
def test_every_stall_ends_within_twice_the_limit(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(download, "STALL_SECONDS", 1.0)
    stalling.stall(limit=2.5)  # half a second more, for a busy machine
    *lines, last = capsys.readouterr().out.splitlines()
    assert last == "files left in the cache: 0"
    assert [line.rpartition(": ")[2] for line in lines] == [
        "no answer within 1 s",
        *["the download stalled"] * 6,
    ]
    with pytest.raises(SystemExit):
        stalling.stall(limit=0.1)


def test_a_hanging_connection_is_aborted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    answer, closed = threading.Event(), threading.Event()

    class Opener:
        def open(self, url: str, timeout: float) -> Any:
            answer.wait(10)  # like a DNS look-up without an answer
            return SimpleNamespace(close=closed.set)

    monkeypatch.setattr(download, "STALL_SECONDS", 0.1)
    monkeypatch.setattr(download, "make_opener", Opener)
    with pytest.raises(UserError, match=r"no answer within 0\.1 s"):
        download.fetch({"a": ("https://a.example", "0")}, tmp_path)
    answer.set()
    assert closed.wait(10)  # a late response is closed


def test_a_missing_server_and_a_wrong_cache_have_short_reasons(
    server: type[_Handler], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        closed = OFFICIAL["fashion_mnist"]._replace(url="http://127.0.0.1:9/")
        patch.setitem(OFFICIAL, "fashion_mnist", closed)
        assert "no connection: Connection refused" in error_of("fashion_mnist")
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert "Not a directory" in error_of("fashion_mnist")


def test_an_interrupted_download_leaves_nothing(
    server: type[_Handler], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("os.fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        load("fashion_mnist")
    assert cached(tmp_path) == []


def test_only_the_files_of_killed_downloads_are_removed(
    server: type[_Handler], tmp_path: Path
) -> None:
    folder = tmp_path / "XDG_CACHE_HOME" / "fmnist_jax" / "fashion_mnist"
    folder.mkdir(parents=True)
    killed, running = (
        folder / f".t10k-labels-idx1-ubyte.gz.{number}"
        for number in ("01234567", "89abcdef")
    )
    running.touch()
    killed.touch()
    os.utime(killed, (0, 0))
    load("fashion_mnist")
    expected = [running.name, *(f"{name}.gz" for name in idx.FILES.values())]
    assert cached(tmp_path) == sorted(expected)
