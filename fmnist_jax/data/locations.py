"""The locations that are searched for Fashion-MNIST and MNIST, in order.

An error in a location that the user passes is raised. An error in a cache is recorded,
and the search continues.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from fmnist_jax.data import idx, npy, official
from fmnist_jax.data.official import NUM_EXAMPLES, OFFICIAL
from fmnist_jax.data.splits import Pairs
from fmnist_jax.errors import UserError, reason


class NotFoundError(UserError):
    """An official data set is in none of the locations.

    ``notable`` are the attempts in the user's locations and those that raised an error.
    """

    def __init__(self, name: str, attempts: list[str], notable: list[str]) -> None:
        title, files = OFFICIAL[name].title, ", ".join(idx.FILES.values())
        super().__init__(
            f"{title} was not found. Tried: {'; '.join(attempts)}. Put its four files "
            f"({files}; each may end in .gz) into a folder and pass it with "
            "--data_dir=FOLDER or FMNIST_JAX_DATA, or use --dataset=synthetic."
        )
        self.notable = notable


class _Location(NamedTuple):
    kind: str
    path: Path
    read: Callable[[Path], Pairs | None]  # None: nothing is there
    is_user_supplied: bool = False

    def __str__(self) -> str:
        return f"{self.kind} {self.path}"


def user_folder(data_dir: str | os.PathLike[str] | None) -> Path | None:
    """Returns the folder that the user passes, as an argument or in FMNIST_JAX_DATA."""
    value = data_dir or os.environ.get("FMNIST_JAX_DATA")
    if not value:
        return None
    try:
        folder = Path(value).expanduser()
        with os.scandir(folder):
            return folder
    except (OSError, RuntimeError, TypeError, ValueError) as error:
        raise UserError(
            f"{'data_dir' if data_dir else 'FMNIST_JAX_DATA'} is {str(value)!r}, which "
            f"is not a readable folder: {reason(error)}."
        ) from error


def find(name: str, root: Path | None) -> tuple[Pairs, str]:
    """Returns the arrays of an official data set, and the location they are from.

    The arrays are uint8, and in the official order.
    """
    attempts, notable = [], []
    for location in _locations(name, root):
        try:
            pairs = location.read(location.path)
            if pairs is not None:
                official.check(name, pairs, location.path)
                return pairs, str(location)
            outcome, is_notable = "nothing found", location.is_user_supplied
        except UserError as error:
            if location.is_user_supplied:
                raise
            outcome, is_notable = str(error).rstrip("."), True
        attempts.append(f"{location}: {outcome}")
        notable += attempts[-1:] if is_notable else []
    raise NotFoundError(name, attempts, notable)


def _locations(name: str, root: Path | None) -> Iterator[_Location]:
    folders = OFFICIAL[name].folders
    if root:
        present = (root / below for below in folders if idx.find_files(root / below))
        folder = next(present, root)
        yield _Location("IDX files in", folder, idx.read_folder, is_user_supplied=True)
    for folder in tfds_roots(root):
        yield _Location("TFDS directory", folder / name, _read_tfds, folder == root)
    keras = _path_in("KERAS_HOME", "~/.keras") / "datasets"
    caches = [Path("data") / folder for folder in folders if "/raw" in folder]
    if name == "mnist":
        yield _Location("Keras file", keras / "mnist.npz", _read_npz)
    else:
        caches.insert(0, keras / "fashion-mnist")
    own_cache = _path_in("XDG_CACHE_HOME", "~/.cache") / "fmnist_jax" / name
    for folder in (*caches, own_cache):
        yield _Location("IDX files in", folder, idx.read_folder)
    yield _Location("download to", own_cache, _download)


def _path_in(variable: str, default: str) -> Path:
    # Unlike Path.expanduser, os.path.expanduser never raises.
    return Path(os.path.expanduser(os.environ.get(variable) or default))


def tfds_roots(root: Path | None) -> list[Path]:
    """Returns the TFDS directories: the user's, the environment's and the default."""
    default = "~/tensorflow_datasets"
    paths = [_path_in("TFDS_DATA_DIR", default), Path(os.path.expanduser(default))]
    return list(dict.fromkeys([root, *paths] if root else paths))


def _read_tfds(folder: Path) -> Pairs | None:
    from fmnist_jax.data import tfds

    version = tfds.newest(folder)
    if version is None:
        return None
    pairs = tfds.read(version).pairs
    matches = {split: official.recognise(*pair) for split, pair in pairs.items()}
    return pairs | {split: match.pair for split, match in matches.items() if match}


def _download(folder: Path) -> Pairs | None:
    if os.environ.get("FMNIST_JAX_OFFLINE", "0") not in ("", "0"):
        raise UserError("switched off by FMNIST_JAX_OFFLINE")
    from fmnist_jax.data import download

    dataset = OFFICIAL[folder.name]
    files = {
        f"{name}.gz": (f"{dataset.url}{name}.gz", dataset.sha256[role])
        for role, name in idx.FILES.items()
    }
    download.fetch(files, folder)
    return idx.read_folder(folder)


def _read_npz(path: Path) -> Pairs | None:
    """Reads MNIST as Keras stores it: a zip archive of .npy files."""
    if not path.exists():
        return None
    pairs = npy.read_all([path])
    if pairs.keys() != NUM_EXAMPLES.keys():
        raise UserError(f"{path} has {', '.join(pairs)}; expected train and test.")
    return pairs
