"""Where Fashion-MNIST and MNIST are looked for, in order.

What a user names must be right; what merely lies in a cache may be damaged, and is
then passed over and reported.
"""

import math
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from fmnist_jax.data import idx, official
from fmnist_jax.data.official import OFFICIAL
from fmnist_jax.errors import UserError, reason

_MAX_NPZ_BYTES = 2**26  # uncompressed, all of MNIST is 55 million


class NotFoundError(UserError):
    """An official data set that is nowhere to be had."""

    def __init__(self, name: str, tried: list[str], notable: list[str]) -> None:
        title, files = OFFICIAL[name].title, ", ".join(idx.FILES.values())
        super().__init__(
            f"{title} was not found. Tried: {'; '.join(tried)}. Put its four files "
            f"({files}; each may end in .gz) into a folder and name it with "
            "--data_dir=FOLDER or FMNIST_JAX_DATA, or use --dataset=synthetic."
        )
        self.notable = notable  # those of the user's, and where something went wrong


class _Place(NamedTuple):
    where: str  # for people
    read: Callable[[], idx.Arrays | None]  # None: nothing there
    named: bool = False  # by the user: an error there is the user's to know
    source: str = ""  # where the data are from, if other words say it better


def user_folder(data_dir: str | os.PathLike[str] | None) -> Path | None:
    """The folder that the user names, as an argument or in FMNIST_JAX_DATA.

    Raises:
        UserError: there is no such folder, or it cannot be read.
    """
    given = data_dir or os.environ.get("FMNIST_JAX_DATA")
    if not given:
        return None
    by = "data_dir" if data_dir else "FMNIST_JAX_DATA"
    try:
        folder = Path(given).expanduser()
        with os.scandir(folder):
            return folder
    except (OSError, RuntimeError, TypeError, ValueError) as error:
        raise UserError(
            f"{by} is {str(given)!r}, but that is not a folder that can be read: "
            f"{reason(error)}."
        ) from error


def find(name: str, root: Path | None) -> tuple[idx.Arrays, str]:
    """Finds an official data set.

    Args:
        name: 'fashion_mnist' or 'mnist'.
        root: the folder that the user names, if any.

    Returns:
        The four uint8 arrays by the keys of `idx.FILES`, in the official order and
        checked by sha256, and where they were read from.

    Raises:
        UserError: what the user's folder holds is damaged or another data set.
        NotFoundError: it is nowhere.
    """
    tried: list[str] = []
    notable: list[str] = []
    for place in _places(name, root):
        try:
            arrays = place.read()
            if arrays is not None:
                official.check(name, arrays, place.where.removeprefix("IDX files in "))
                return arrays, place.source or place.where
            tried.append(f"{place.where}: nothing there")
            notable += tried[-1:] if place.named else []
        except UserError as error:
            if place.named:
                raise
            tried.append(f"{place.where}: {str(error).rstrip('.')}")
            notable.append(tried[-1])
    raise NotFoundError(name, tried, notable)


def _places(name: str, root: Path | None) -> Iterator[_Place]:
    folders = OFFICIAL[name].folders
    if root:
        has_files = (root / each for each in folders if idx.find_files(root / each))
        yield _idx_place(next(has_files, root), named=True)
    for each in tfds_roots(root):
        read = partial(_read_tfds, name, each)
        yield _Place(f"TFDS directory {each / name}", read, named=each == root)
    keras = _expand(os.environ.get("KERAS_HOME") or "~/.keras") / "datasets"
    if name == "mnist":
        npz = keras / "mnist.npz"
        yield _Place(f"Keras file {npz}", partial(_read_npz, npz))
    else:
        yield _idx_place(keras / "fashion-mnist")
    yield from (_idx_place(Path("data") / each) for each in folders if "raw" in each)
    cache = _expand(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    cache = cache / "fmnist_jax" / name
    yield _idx_place(cache)
    fetch = partial(_download, name, cache)
    yield _Place(f"download to {cache}", fetch, source=f"downloaded to {cache}")


def _expand(path: str) -> Path:
    return Path(os.path.expanduser(path))  # unlike Path.expanduser, never raises


def _idx_place(folder: Path, named: bool = False) -> _Place:
    return _Place(f"IDX files in {folder}", partial(idx.read_folder, folder), named)


def tfds_roots(root: Path | None) -> list[Path]:
    """The TFDS directories to look in: the user's, the environment's, the default."""
    environment = os.environ.get("TFDS_DATA_DIR")
    roots = [root, _expand(environment) if environment else None]
    return list(dict.fromkeys([*filter(None, roots), _expand("~/tensorflow_datasets")]))


def _read_tfds(name: str, root: Path) -> idx.Arrays | None:
    from fmnist_jax.data import tfds

    folder = tfds.find(root, name)
    return tfds.official_order(tfds.read(folder)[0]) if folder else None


def _download(name: str, folder: Path) -> idx.Arrays:
    if os.environ.get("FMNIST_JAX_OFFLINE", "0") not in ("", "0"):
        raise UserError("switched off by FMNIST_JAX_OFFLINE")
    from fmnist_jax.data import download

    official_ = OFFICIAL[name]
    paths = {role: folder / f"{file}.gz" for role, file in idx.FILES.items()}
    download.fetch(
        {
            path.name: (official_.url + path.name, official_.gz_sha256[role])
            for role, path in paths.items()
        },
        folder,
    )
    return {role: idx.read(path, idx.dims(role)) for role, path in paths.items()}


def _read_npz(path: Path) -> idx.Arrays | None:
    """Reads Keras' copy of MNIST: a zip of .npy files."""
    import zipfile

    if not os.path.lexists(path):
        return None
    # Others are unpacked without an end, a few bytes to a gigabyte.
    bounded = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
    try:
        if not path.is_file() or path.stat().st_size > _MAX_NPZ_BYTES:
            raise ValueError(f"it is no file of at most {_MAX_NPZ_BYTES:,} bytes")
        with zipfile.ZipFile(path) as archive:
            arrays = {}
            for role in idx.FILES:
                split, kind = role.split("_")
                letter = "x" if kind == "images" else "y"
                shape = (official.NUM_EXAMPLES[split], 28, 28)[: idx.dims(role)]
                member = archive.getinfo(f"{letter}_{split}.npy")
                if member.compress_type not in bounded:
                    name = member.filename
                    raise ValueError(f"{name} is neither stored nor deflated")
                with archive.open(member) as file:
                    arrays[role] = _read_npy(file, shape)
            return arrays
    except Exception as error:  # whatever zipfile and NumPy make of a damaged file
        raise UserError(f"{path} cannot be read: {reason(error)}.") from error


def _read_npy(file: IO[bytes], shape: tuple[int, ...]) -> np.ndarray:
    # Not np.load, which would reserve whatever memory a header claims; nor later
    # versions, of which the header itself may claim 4 GiB.
    version = np.lib.format.read_magic(file)
    if version != (1, 0):
        raise ValueError(f"its arrays are of version {version} of npy, not (1, 0)")
    found, fortran_order, dtype = np.lib.format.read_array_header_1_0(file)
    if (found, fortran_order, dtype) != (shape, False, np.uint8):
        raise ValueError(f"it holds {dtype} {found}, not uint8 {shape}")
    size = math.prod(shape)
    body = file.read(size)
    if len(body) != size or file.read(1):
        raise ValueError("its arrays are not as long as they say")
    return np.frombuffer(body, np.uint8).reshape(shape)
