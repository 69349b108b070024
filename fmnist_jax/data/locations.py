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
from fmnist_jax.files import cache_folder, is_url, local_folder, with_home


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
    name = "data_dir" if data_dir else "FMNIST_JAX_DATA"
    try:
        folder = local_folder(os.fspath(value), name)
        with os.scandir(folder):
            return folder
    except (OSError, TypeError) as error:
        raise UserError(
            f"{name} is {str(value)!r}, which is not a readable folder: "
            f"{reason(error)}."
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
    for keras in _paths_in("KERAS_HOME", "~/.keras")[:1]:
        if name == "mnist":
            yield _Location("Keras file", keras / "datasets" / "mnist.npz", _read_npz)
        else:
            folder = keras / "datasets" / "fashion-mnist"
            yield _Location("IDX files in", folder, idx.read_folder)
    caches = [Path("data") / folder for folder in folders if "/raw" in folder]
    cache = cache_folder()
    caches += [cache / "fmnist_jax" / name] if cache else []
    for folder in caches:
        yield _Location("IDX files in", folder, idx.read_folder)
    if cache:
        yield _Location("download to", caches[-1], _download)
    else:
        yield _Location("download to", Path("~/.cache"), _without_home)


def _paths_in(variable: str, default: str) -> list[Path]:
    """Returns the folder of a variable and the default, without URLs and ``~``."""
    texts = filter(None, (os.environ.get(variable), default))
    paths = (with_home(text) for text in texts if not is_url(text))
    return [path for path in paths if path is not None]


def tfds_roots(root: Path | None) -> list[Path]:
    """Returns the TFDS directories: the user's, the environment's and the default."""
    paths = _paths_in("TFDS_DATA_DIR", "~/tensorflow_datasets")
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


def _without_home(folder: Path) -> None:
    raise UserError(f"there is no {folder}; set HOME or XDG_CACHE_HOME to a full path")


def _read_npz(path: Path) -> Pairs | None:
    """Reads MNIST as Keras stores it: a zip archive of .npy files."""
    if not path.exists():
        return None
    pairs = npy.read_all([path])
    if pairs.keys() != NUM_EXAMPLES.keys():
        raise UserError(f"{path} has {', '.join(pairs)}; expected train and test.")
    return pairs
