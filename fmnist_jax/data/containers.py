"""Data sets in files and folders of the user's, recognised by their content."""

import dataclasses
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from fmnist_jax.data import idx, images, limits, npy
from fmnist_jax.data.dataset import Data, Dataset
from fmnist_jax.data.official import OFFICIAL, recognise
from fmnist_jax.data.splits import (
    SPLITS,
    Contents,
    Pairs,
    num_shards,
    split_of,
    without_split,
)
from fmnist_jax.errors import UserError

# The first bytes of formats. Text with a delimiter in its first line is CSV.
_STARTS = {b"PK\3\4": ".npz", b"\x93NUMPY": ".npy", b"PAR1": "Parquet"}
_TABLE_SUFFIXES = (".csv", ".tsv")  # in a folder, other texts are no data
_EXPECTED = (
    "expected CSV, Parquet, .npz or .npy files, the four IDX files, folders of PNG or "
    "JPEG images by class, or a prepared TFDS folder"
)
_MAX_DEPTH = 3  # of folders that contain nothing but one folder
TEST_SHARE = 6  # a test set that is split off has one in six examples
SEED = 0  # of the choice of these examples


def to_data(contents: Contents, name: str) -> Data:
    """Returns the data; an official name also determines the class names."""
    parts: dict[str, Any] = {s: Dataset(*pair) for s, pair in contents.pairs.items()}
    names = OFFICIAL[name].class_names if name in OFFICIAL else contents.class_names
    parts |= {"source": contents.source, "notice": contents.notice}
    return Data(**parts, name=name, class_names=names)


def load(path: Path, reserved: Collection[str] = ()) -> Data:
    """Loads the data set in a file or folder.

    A file whose name has the word of a split, such as train, stands for the files of
    all splits beside it. Fashion-MNIST and MNIST are recognised, and get their name,
    class names and order. If there is no test set, a stratified sixth of the examples
    is split off as one. Data with one of the ``reserved`` names are refused.
    """
    path = path.absolute()
    with limits.explaining(path):
        contents = _folder(path) if path.is_dir() else _file(path)
    pairs, texts = contents.pairs, [contents.notice]
    if is_alone := len(pairs) == 1:
        pairs = {"all": next(iter(pairs.values()))}
    try:
        name, pairs, note = _recognised(pairs)
        if is_alone:
            pairs = {"train": pairs["all"], "test": pairs["all"]}
        elif "train" not in pairs:
            raise UserError(
                "there is no training set, only a test and a validation set."
            )
        elif "test" not in pairs:
            pairs = {"train": pairs["train"], "test": pairs["validation"]}
            texts += ["There is no test set; the validation set is used as one."]
        source = ", ".join(filter(None, (contents.source, note)))
        notice = " ".join(filter(None, texts))
        contents = contents._replace(pairs=pairs, source=source, notice=notice)
        data = to_data(contents, name or _name(path, reserved))
        return _with_test(data) if is_alone else data
    except UserError as error:
        text = f"{contents.source}: {error} {contents.notice}".rstrip()
        raise UserError(text) from error


def _recognised(pairs: Pairs) -> tuple[str, Pairs, str]:
    """Returns the official name or "", the splits in official order, and a note."""
    matches = {split: recognise(*pair) for split, pair in pairs.items()}
    known = {split: match for split, match in matches.items() if match}
    names = {match.name for match in known.values()}
    whole = {split: match.split for split, match in known.items()}
    is_whole = whole == {"train": "train", "test": "test"} and len(pairs) == 2
    if len(names) == 1 and (is_whole or "all" in known):
        name = names.pop()
        part = "" if is_whole else f"the {whole['all']} set of "
        restored = {split: match.pair for split, match in known.items()}
        return name, restored, f"recognised as {part}{OFFICIAL[name].title}"
    notes = [
        f"its {split} set recognised as that of {OFFICIAL[match.name].title}"
        for split, match in known.items()
    ]
    return "", pairs, ", ".join(notes)


def _with_test(data: Data) -> Data:
    """Returns data with a test set that is split off from the training set."""
    count = len(data.train.labels)
    size = max(1, count // TEST_SHARE)
    split = data.with_validation(size, SEED)
    notice = (
        f"There is no test set, so {size:,} of the {count:,} examples, a sixth of each "
        "class, are used as one. They are the same for all seeds."
    )
    notice = f"{data.notice} {notice}".strip()
    test: Any = split.validation
    return dataclasses.replace(split, test=test, validation=None, notice=notice)


def _name(path: Path, reserved: Collection[str]) -> str:
    """Returns a name for files and tables from that of a file or folder."""
    stem = path.stem if path.is_file() else path.name
    words = re.sub(r"[^\w.-]+", "_", without_split(stem)).strip("_.-") or "custom"
    return f"custom_{words}" if words in reserved else words


def _file(path: Path) -> Contents:
    if path in idx.find_files(path.parent).values():
        return _folder(path.parent)
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


def _folder(folder: Path, depth: int = 0) -> Contents:
    from fmnist_jax.data import tfds

    if version := tfds.newest(folder):
        return tfds.read(version)
    for idx_folder in (folder, folder / "raw"):
        if pairs := idx.read_folder(idx_folder):
            return Contents(pairs, f"IDX files in {idx_folder}")
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
    splits = images.find(folder)
    for name, paths in by_format.items():
        if splits:
            raise UserError(
                f"{folder} has images by class, and beside them {paths[0].name}; pass "
                "a folder that has only the images, or that file."
            )
        return _files(name, _one_set(folder, name, paths))
    if splits:
        return Contents(images.read(folder, splits), f"images by class in {folder}")
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
    names = ", ".join(path.name for path in paths[:4])
    source = f"{name} {names} in {paths[0].parent}"
    if name == ".npy":
        return Contents(npy.read_all(paths), source)
    by_split = _by_split(paths)
    if name == ".npz":
        pairs: Pairs = {}
        for outer, files in by_split.items():
            inner = npy.read_all(files)
            pairs |= {outer if s == "all" else s: pair for s, pair in inner.items()}
        return Contents(pairs, source)
    if name == "Parquet":
        from fmnist_jax.data import parquet

        contents = parquet.read(by_split)
    else:
        from fmnist_jax.data import tables

        contents = tables.read(by_split, tables.open_csv)
    return contents._replace(source=f"{source}, {contents.source}")


def _by_split(paths: Sequence[Path]) -> dict[str, list[Path]]:
    """Returns the files of each split, or of 'all'; in the order of SPLITS.

    Several files of a split must be its shards.
    """
    by_split: dict[str, list[Path]] = {split: [] for split in ("all", *SPLITS)}
    for path in sorted(paths):
        by_split[split_of(path.name) or "all"].append(path)
    by_split = {split: files for split, files in by_split.items() if files}
    for files in by_split.values():
        if len(files) != num_shards(files[0]):
            raise UserError(
                f"{files[0].parent} has {len(files)} of {num_shards(files[0])} files "
                f"such as {files[0].name}; expected all of a split, once."
            )
    return by_split
