"""Loads a data set: the only reader of data files, with the modules that it calls.

    data = load("fashion_mnist")
    data.train.images  # uint8 [60000, 28, 28]
    data.train.labels  # int32 [60000]

Only NumPy is needed. TensorFlow Datasets is used where a set prepared by it is read.
"""

import difflib
import operator
import os
from pathlib import Path
from typing import Any

from fmnist_jax.data import idx, locations, official
from fmnist_jax.data.dataset import Data, Dataset
from fmnist_jax.data.official import NUM_EXAMPLES, OFFICIAL
from fmnist_jax.errors import UserError

__all__ = ["Data", "Dataset", "load"]

NAMES = ("auto", *OFFICIAL, "synthetic", "idx")


def load(
    name: str = "auto",
    data_dir: str | os.PathLike[str] | None = None,
    *,
    train_examples: int | None = None,
    test_examples: int | None = None,
) -> Data:
    """Loads a data set.

    'fashion_mnist' and 'mnist' are looked for in `data_dir` or $FMNIST_JAX_DATA (the
    four IDX files, .gz or not, or a TFDS directory), in $TFDS_DATA_DIR and
    ~/tensorflow_datasets, in the caches of Keras and torchvision, and in this
    library's own, which a download fills (unless FMNIST_JAX_OFFLINE=1). They are
    checked by sha256 and come in the official order.

    Args:
        name: 'fashion_mnist' or 'mnist'; 'auto': Fashion-MNIST where it can be had,
            else 'synthetic', with a notice; 'synthetic': the embedded stand-in;
            'idx': other IDX files in `data_dir`; or an image set of TFDS that is
            prepared on this machine (NAME or NAME/CONFIG).
        data_dir: the folder to look in first; it must exist.
        train_examples: keep only the first so many.
        test_examples: likewise, of the test set.

    Returns:
        The data, with its name and where it was read from.

    Raises:
        UserError: it is not to be had, or what is there is damaged or another data
            set; the line says where it was looked for and what to do.
    """
    counts = {"train": train_examples, "test": test_examples}
    for split, count in counts.items():
        _check_count(split, count)
    root = locations.user_folder(data_dir)
    if name == "synthetic":
        return _load_synthetic(counts)
    if name == "auto":
        return _load_auto(root, counts)
    if name in OFFICIAL:
        return _first(_load_official(name, root), counts)
    if name == "idx":
        return _first(_load_idx(root), counts)
    return _first(_load_tfds(name, root), counts)


def _check_count(split: str, count: int | None, most: int | None = None) -> None:
    if count is None:
        return
    try:
        too_few = operator.index(count) < 1
    except TypeError:
        too_few = True
    if too_few:
        raise UserError(
            f"{split}_examples must be a whole number of at least 1, got {count!r}."
        )
    if most is not None and count > most:
        raise UserError(
            f"{split}_examples is {count:,}, but there are only {most:,} {split} "
            "examples."
        )


def _first(data: Data, counts: dict[str, int | None]) -> Data:
    for split, count in counts.items():
        _check_count(split, count, len(getattr(data, split).labels))
    return data.first(**counts)


def _from_arrays(arrays: idx.Arrays, **kwargs: Any) -> Data:
    return Data(
        Dataset(arrays["train_images"], arrays["train_labels"]),
        Dataset(arrays["test_images"], arrays["test_labels"]),
        **kwargs,
    )


def _load_official(name: str, root: Path | None) -> Data:
    arrays, source = locations.find(name, root)
    names = OFFICIAL[name].class_names
    return _from_arrays(arrays, name=name, class_names=names, source=source)


def _load_synthetic(counts: dict[str, int | None], notice: str = "") -> Data:
    from fmnist_jax.data import synthetic

    for split, count in counts.items():
        _check_count(split, count, NUM_EXAMPLES[split])
    wanted = {f"{key}_examples": counts[key] or NUM_EXAMPLES[key] for key in counts}
    train, test = synthetic.generate(seed=0, **wanted)
    return Data(
        Dataset(*train),
        Dataset(*test),
        name="synthetic",
        class_names=tuple(synthetic.SYNTHETIC_CLASSES),
        source="generated",
        notice=notice,
    )


def _load_auto(root: Path | None, counts: dict[str, int | None]) -> Data:
    try:
        return _first(_load_official("fashion_mnist", root), counts)
    except locations.NotFoundError as error:
        why = "; ".join(["no good copy on this machine", *error.notable])
    notice = (
        f"Fashion-MNIST could not be had ({why}), so the synthetic stand-in is used: "
        "these numbers are not Fashion-MNIST's. For the real set, put its four files "
        f"({idx.FILES['train_images']}.gz and so on) into a folder and name it with "
        "--data_dir=FOLDER."
    )
    return _load_synthetic(counts, notice)


def _load_idx(root: Path | None) -> Data:
    if root is None:
        raise UserError(
            "Dataset 'idx' needs --data_dir=FOLDER (or FMNIST_JAX_DATA) with the four "
            f"files {', '.join(idx.FILES.values())}; each may end in .gz."
        )
    arrays = idx.read_folder(root)
    if arrays is None:
        raise UserError(
            f"{root} has none of the IDX files {', '.join(idx.FILES.values())} (each "
            "may end in .gz)."
        )
    if name := official.identify(arrays):  # a known set is called by its name
        names = OFFICIAL[name].class_names
        source = f"IDX files in {root}"
        return _from_arrays(arrays, name=name, class_names=names, source=source)
    last = max(arrays["train_labels"].max(), arrays["test_labels"].max())
    folder = root.resolve().name
    source = f"IDX files '{folder}' in {root}, labels 0 to {last}"
    return _from_arrays(arrays, name="idx", source=source)


def _load_tfds(name: str, root: Path | None) -> Data:
    from fmnist_jax.data import tfds

    roots = locations.tfds_roots(root)
    for each in roots if isinstance(name, str) else []:
        if folder := tfds.find(each, name):
            arrays, names = tfds.read(folder)
            source = f"TFDS directory {folder}"
            return _from_arrays(arrays, name=name, class_names=names, source=source)
    if not (isinstance(name, str) and tfds.known(name)):
        close = _closest(name)
        raise UserError(
            f"Unknown dataset {name!r}; expected {', '.join(NAMES)} or an image set of "
            f"TFDS{f'; did you mean {close!r}?' if close else '.'}"
        )
    raise UserError(
        f"Dataset {name!r} is not prepared in {', '.join(map(str, roots))}: prepare it "
        f"with `{tfds.how_to_prepare(name, root)}` (this command needs TensorFlow; "
        "reading what it made does not)."
    )


def _closest(name: object) -> str | None:
    from fmnist_jax.data import tfds

    plain = str(name).lower().replace("-", "_")
    close = difflib.get_close_matches(plain, NAMES, 1)
    return next(
        iter(close or difflib.get_close_matches(plain, tfds.known_names(), 1)), None
    )
