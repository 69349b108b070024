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
_STARTS = {b"PK\3\4": "npz", b"\x93NUMPY": "npy", b"PAR1": "Parquet"}
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
    """

    pairs: Pairs
    source: str
    class_names: tuple[str, ...] = ()


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
    if name == "npy" or split_of(path.name) is None:
        return _files(path, name, [path])
    pattern = without_split(path.name)
    siblings = [p for p in path.parent.iterdir() if without_split(p.name) == pattern]
    return _files(path, name, [p for p in siblings if p.is_file()])


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
    if version := _tfds_version(folder):
        return _tfds(version)
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
    for name, paths in by_format.items():
        return _files(folder, name, _one_set(folder, name, paths))
    if splits := images.split_folders(folder):
        pairs = images.read_folders(splits)
        return Contents(pairs, f"images by class in {folder}")
    inner = [path for path in entries if path.is_dir()]
    if len(inner) == 1 and depth < _MAX_DEPTH:
        return _folder(inner[0], depth + 1)
    raise UserError(f"{folder} contains no data set; {_EXPECTED}.")


def _one_set(folder: Path, name: str, paths: list[Path]) -> list[Path]:
    """Returns the files of the only data set among files of one format."""
    if name == "npy":
        return paths
    with_split = [path for path in paths if split_of(path.name)]
    if len({without_split(path.name) for path in with_split or paths}) > 1:
        names = ", ".join(path.name for path in (with_split or paths)[:4])
        raise UserError(
            f"{folder} has several {name} files ({names}, …), which are not the splits "
            "of one data set; pass one of the files."
        )
    return with_split or paths


def _files(location: Path, name: str, paths: Sequence[Path]) -> Contents:
    """Reads the files of one format that belong to a data set."""
    if name == "npy":
        folder = paths[0].parent
        arrays = npy.read_files(sorted(folder.glob("*.npy")))
        return Contents(npy.pairs(arrays, folder), f".npy files in {folder}")
    by_split = _by_split(paths)
    source = f"{name} {', '.join(p.name for p in paths[:3])} in {paths[0].parent}"
    if name == "npz":
        pairs: Pairs = {}
        for split, path in by_split.items():
            pairs |= _npz(split, path[0])
        return Contents(pairs, source)
    if name == "Parquet":
        from fmnist_jax.data import parquet

        table = parquet.read(by_split)
    else:
        from fmnist_jax.data import tables

        table = tables.read_csv({split: path[0] for split, path in by_split.items()})
    source += f", labels from column {table.label!r}"
    return Contents(table.pairs, source, table.class_names)


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


def _npz(split: str, path: Path) -> Pairs:
    pairs = npy.pairs(npy.read_archive(path), path)
    if split == "all":
        return pairs
    if pairs.keys() != {"all"}:
        raise UserError(
            f"{path} has arrays of several splits, although its name has the word of "
            "one; pass it alone, under another name."
        )
    return {split: pairs["all"]}


def _tfds_version(folder: Path) -> Path | None:
    from fmnist_jax.data import tfds

    if (folder / "dataset_info.json").is_file():
        return folder
    config = f"{folder.parent.name}/{folder.name}"
    return tfds.find(folder.parent, folder.name) or tfds.find(
        folder.parents[min(1, len(folder.parents) - 1)], config
    )


def _tfds(version: Path) -> Contents:
    from fmnist_jax.data import tfds

    arrays, class_names = tfds.read(version)
    return Contents(_pairs(arrays), f"TFDS directory {version}", class_names)


def _pairs(arrays: idx.Arrays) -> Pairs:
    return {s: (arrays[f"{s}_images"], arrays[f"{s}_labels"]) for s in NUM_EXAMPLES}
