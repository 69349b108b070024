"""Loads a data set. TFDS is imported only for a data set that it has prepared."""

import difflib
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from fmnist_jax.data import containers, idx, locations, official
from fmnist_jax.data.containers import to_data
from fmnist_jax.data.dataset import Data
from fmnist_jax.data.official import NUM_EXAMPLES, OFFICIAL
from fmnist_jax.data.splits import Contents
from fmnist_jax.errors import UserError, choose
from fmnist_jax.files import with_home
from fmnist_jax.values import SUBSETS, integer, plain

NAMES = ("auto", *OFFICIAL, "synthetic", "idx")


def load(
    name: str | os.PathLike[str] = "auto",
    data_dir: str | os.PathLike[str] | None = None,
    *,
    train_examples: int | None = None,
    test_examples: int | None = None,
    subset: str = "first",
) -> Data:
    """Returns a data set, with its name and origin.

    'fashion_mnist' and 'mnist' are searched for in these locations, in order:
    ``data_dir`` or $FMNIST_JAX_DATA (the four IDX files, raw or .gz, or a TFDS
    directory); $TFDS_DATA_DIR and ~/tensorflow_datasets; the caches of Keras and
    torchvision; and the cache of this library, which a download fills unless
    FMNIST_JAX_OFFLINE=1. The arrays are checked by sha256 and have the official order.

    Args:
      name: 'fashion_mnist' or 'mnist'; 'auto': Fashion-MNIST if it is available, else
        'synthetic', the generated set, with a notice, unless a folder was given; 'idx':
        other IDX files in ``data_dir``; a prepared image set of TFDS (NAME or
        NAME/CONFIG); or a file or folder, whose content decides how it is read
        (``docs/reference/data_formats.md``). If a name is also a path, it is a name.
      data_dir: the folder to search first for a name; it must exist.
      train_examples: the number of training examples to keep.
      test_examples: the same for the test set.
      subset: the examples to keep: 'first' or 'stratified', see ``Data.subset``.

    Returns:
      The checked data: ``.train`` and ``.test``, each with ``.images`` and ``.labels``.

    Raises:
      UserError: as ``Data.subset``; and if the data set is not available, is damaged
        or is another one: the message states what was searched and what to do.
    """
    counts = {"train": plain(train_examples), "test": plain(test_examples)}
    choose("subset", subset, dict.fromkeys(SUBSETS))
    data = _load(name, locations.user_folder(data_dir), counts, bool(data_dir))
    _check_counts(counts, [len(data.train.labels), len(data.test.labels)])
    return data.subset(**counts, method=subset)


def _load(
    name: str | os.PathLike[str],
    root: Path | None,
    counts: Mapping[str, int | None],
    folder_given: bool,
) -> Data:
    """Returns a data set; of the synthetic one, at most ``counts`` examples."""
    if name == "synthetic":
        return _load_synthetic(counts)
    if name == "idx":
        return _load_idx(root)
    if not isinstance(name, str) or name not in ("auto", *OFFICIAL):
        return _load_tfds_or_path(name, root, folder_given)
    official_name = "fashion_mnist" if name == "auto" else name
    try:
        contents = Contents(*locations.find(official_name, root))
    except locations.NotFoundError as error:
        if name != "auto" or root is not None:
            raise
        causes = "; ".join(["no valid copy on this machine", *error.notable])
        notice = (
            f"Fashion-MNIST could not be loaded ({causes}), so a generated synthetic "
            "data set is used: the results are not those of Fashion-MNIST. To use "
            f"Fashion-MNIST, put its four files ({idx.FILES['train_images']}.gz and so "
            "on) into a folder and pass the folder with --data_dir=FOLDER."
        )
        return _load_synthetic(counts, notice)
    return to_data(contents, official_name)


def _check_counts(counts: Mapping[str, int | None], available: Sequence[int]) -> None:
    for (split, count), most in zip(counts.items(), available, strict=True):
        allowed = integer(1, most)
        if count is not None and not allowed.accepts(count):
            raise UserError(
                f"{split}_examples is {count!r}; expected {allowed.allowed}, because "
                f"there are {most:,} {split} examples."
            )


def _load_synthetic(counts: Mapping[str, int | None], notice: str = "") -> Data:
    from fmnist_jax.data import synthetic

    _check_counts(counts, [*NUM_EXAMPLES.values()])
    # Every ten examples contain each class once: the first ones are stratified.
    sizes = {split: counts[split] or NUM_EXAMPLES[split] for split in NUM_EXAMPLES}
    pairs = dict(zip(sizes, synthetic.generate(0, *sizes.values()), strict=True))
    classes = OFFICIAL["fashion_mnist"].class_names
    return to_data(Contents(pairs, "generated", classes, notice), "synthetic")


def _load_idx(root: Path | None) -> Data:
    folders = [root, root / "raw"] if root else []
    pairs = next(filter(None, map(idx.read_folder, folders)), None)
    if root is None or pairs is None:
        problem = f"{root} has none of the IDX files" if root else "no folder is given"
        raise UserError(
            "Dataset 'idx' needs --data_dir=FOLDER (or FMNIST_JAX_DATA) with the four "
            f"files {', '.join(idx.FILES.values())} (each may end in .gz); {problem}."
        )
    names = {*official.match_official(pairs).values()}
    name = names.pop() if len(names) == 1 else None  # an official one is kept
    source = f"IDX files '{root.resolve().name}' in {root}"
    return to_data(Contents(pairs, source), name or "idx")


def _load_tfds_or_path(
    name: str | os.PathLike[str], root: Path | None, folder_given: bool
) -> Data:
    from fmnist_jax.data import tfds

    roots = locations.tfds_roots(root)
    for tfds_root in roots if isinstance(name, str) else ():
        if folder := tfds.find(tfds_root, str(name)):
            return to_data(tfds.read(folder), str(name))
    is_path = isinstance(name, str | os.PathLike)
    path = with_home(os.fspath(name)) if is_path and name else None
    if path is not None and os.path.exists(path):
        if folder_given:
            raise UserError(
                f"--data_dir={root} has no effect, because --dataset={name} is a path; "
                "leave one of the two out."
            )
        return containers.load(path, NAMES)
    names = tfds.known_names()
    if re.split("[/:]", str(name))[0] not in names:
        text = str(name).lower().replace("-", "_")
        close = difflib.get_close_matches(text, [*NAMES, *names], 1)
        raise UserError(
            f"Unknown dataset {name!r}; expected {', '.join(NAMES)}, an image set of "
            "TFDS, or a file or folder (none of this name exists)"
            f"{f'; did you mean {close[0]!r}?' if close else '.'}"
        )
    option = f" --data_dir={shlex.quote(str(root))}" if root else ""
    raise UserError(
        f"Dataset {name!r} is not prepared in {', '.join(map(str, roots))}: prepare it "
        f"with `tfds build {name}{option}` (this command requires TensorFlow; reading "
        "the prepared data set does not)."
    )
