"""Data sets in files and folders of the user's, recognised by their content."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from fmnist_jax.data import idx, images, npy
from fmnist_jax.data.npy import Pairs
from fmnist_jax.data.official import NUM_EXAMPLES
from fmnist_jax.data.splits import SPLITS, num_shards, split_of, without_split
from fmnist_jax.errors import UserError, reason

# The first bytes of formats. Text with a delimiter in its first line is CSV.
_STARTS = {b"PK\3\4": ".npz", b"\x93NUMPY": ".npy", b"PAR1": "Parquet"}
_TABLE_SUFFIXES = (".csv", ".tsv")  # in a folder, other texts are no data
_EXPECTED = (
    "expected CSV, Parquet, .npz or .npy files, the four IDX files, folders of PNG or "
    "JPEG images by class, or a prepared TFDS folder"
)
_MAX_DEPTH = 3  # of folders that contain nothing but one folder


class Contents(NamedTuple):
    """What a file or folder contains.

    Attributes:
      pairs: images ``[N, ...]`` and labels of each split; of 'all' if there is one.
      source: the container and its path.
      class_names: of all classes, if the container lists them; or empty.
      notice: a line for the user, or "".
    """

    pairs: Pairs
    source: str
    class_names: tuple[str, ...] = ()
    notice: str = ""


def read(path: Path) -> Contents:
    """Reads a data set from a file or folder.

    A file whose name has the word of a split, such as train, stands for the files of
    all splits beside it.

    Raises:
      UserError: if the path contains no data set, several or a damaged one.
    """
    path = path.absolute()
    try:
        if path.is_dir():
            return _folder(path, 0)
        if path in idx.find_files(path.parent).values():
            return _folder(path.parent, 0)
        return _file(path)
    except UserError:
        raise
    except Exception as error:  # packages raise many types for damaged files
        raise UserError(f"{path} cannot be read: {reason(error)}.") from error


def _file(path: Path) -> Contents:
    if not path.is_file():
        raise UserError(f"{path} is neither a file nor a folder.")
    name = _format(path)
    if name is None:
        with open(path, "rb") as file:
            contents = idx.description(file.read(64))
        raise UserError(f"{path} {contents}; {_EXPECTED}.")
    siblings = sorted(filter(Path.is_file, path.parent.iterdir()))
    if name == ".npy":
        return _files(name, [p for p in siblings if p.suffix == path.suffix])
    pattern = without_split(path.name)
    if split_of(path.name):
        return _files(name, [p for p in siblings if without_split(p.name) == pattern])
    return _files(name, [path])


def _format(path: Path) -> str | None:
    """Returns the format of a file, by its first bytes; None if it is another one."""
    with open(path, "rb") as file:
        head = file.read(4096)
    for start, name in _STARTS.items():
        if head.startswith(start):
            return name
    line = head.split(b"\n")[0]
    is_text = b"\0" not in head and not idx.description(head).startswith("is ")
    return "CSV" if is_text and any(c in line for c in (b",", b";", b"\t")) else None


def _folder(folder: Path, depth: int) -> Contents:
    if contents := _tfds(folder):
        return contents
    for idx_folder in (folder, folder / "raw"):
        if arrays := idx.read_folder(idx_folder):
            return Contents(_pairs(arrays), f"IDX files in {idx_folder}")
    entries = sorted(filter(images.is_visible, folder.iterdir()))
    by_format: dict[str, list[Path]] = {}
    for path in filter(Path.is_file, entries):
        name = _format(path)
        if name and (name != "CSV" or path.suffix.lower() in _TABLE_SUFFIXES):
            by_format.setdefault(name, []).append(path)
    if len(by_format) > 1:
        raise UserError(
            f"{folder} has files of several formats ({', '.join(by_format)}); pass one "
            "of the files."
        )
    has_images = images.has_folders(folder)
    for name, paths in by_format.items():
        if has_images:
            raise UserError(
                f"{folder} has images by class, and beside them {paths[0].name}; pass "
                "a folder that has only the images, or that file."
            )
        return _files(name, _one_set(folder, name, paths))
    if has_images:
        pairs = images.read_folders(folder)
        return Contents(pairs, f"images by class in {folder}")
    inner = [path for path in entries if path.is_dir()]
    if len(inner) == 1 and depth < _MAX_DEPTH:
        return _folder(inner[0], depth + 1)
    raise UserError(f"{folder} contains no data set; {_EXPECTED}.")


def _one_set(folder: Path, name: str, paths: list[Path]) -> list[Path]:
    """Returns the files of the only data set among files of one format."""
    paths = [path for path in paths if split_of(path.name)] or paths
    if name != ".npy" and len({without_split(path.name) for path in paths}) > 1:
        raise UserError(
            f"{folder} has several {name} files that are no splits of one data set, "
            f"such as {paths[0].name} and {paths[-1].name}; pass one of the files."
        )
    return paths


def _files(name: str, paths: Sequence[Path]) -> Contents:
    """Reads the files of one format that belong to a data set."""
    names = [path.name for path in paths]
    source = f"{name} {', '.join(names[:4])} in {paths[0].parent}"
    if name == ".npy":
        return Contents(npy.read_all(paths), source)
    by_split = _by_split(paths)
    if name == ".npz":
        pairs: Pairs = {}
        for outer, files in by_split.items():
            inner = npy.read_all(files)
            pairs |= {
                outer if split == "all" else split: inner[split] for split in inner
            }
        return Contents(pairs, source)
    if name == "Parquet":
        from fmnist_jax.data import parquet

        table = parquet.read(by_split)
    else:
        from fmnist_jax.data import tables

        table = tables.read_csv({split: path[0] for split, path in by_split.items()})
    source += f", labels from column {table.label!r}"
    return Contents(table.pairs, source, table.class_names, table.notice)


def _by_split(paths: Sequence[Path]) -> dict[str, list[Path]]:
    """Returns the files of each split, 'all' if there is one; in the order of SPLITS.

    Raises:
      UserError: if there are several files of a split that are not its shards.
    """
    by_split: dict[str, list[Path]] = {}
    for path in sorted(paths):
        by_split.setdefault(split_of(path.name) or "all", []).append(path)
    for files in by_split.values():
        if len(files) != num_shards(files[0]):
            raise UserError(
                f"{files[0].parent} has {len(files)} of {num_shards(files[0])} files "
                f"such as {files[0].name}; expected all of a split, once."
            )
    if len(by_split) == 1:
        return {"all": next(iter(by_split.values()))}
    return {split: by_split[split] for split in SPLITS if split in by_split}


def _tfds(folder: Path) -> Contents | None:
    """Reads a prepared TFDS folder, NAME[/CONFIG][/VERSION]; None if it is none."""
    from fmnist_jax.data import tfds

    if (folder / "dataset_info.json").is_file():
        version: Path | None = folder
    else:
        config = f"{folder.parent.name}/{folder.name}"
        version = tfds.find(folder.parent, folder.name)
        version = version or tfds.find(folder.parent.parent, config)
    if version is None:
        return None
    arrays, class_names = tfds.read(version)
    return Contents(_pairs(arrays), f"TFDS directory {version}", class_names)


def _pairs(arrays: idx.Arrays) -> Pairs:
    return {s: (arrays[f"{s}_images"], arrays[f"{s}_labels"]) for s in NUM_EXAMPLES}
