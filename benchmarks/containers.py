"""Is Fashion-MNIST the same through every container, and what does reading it take?

    python -m benchmarks.containers FOLDER

FOLDER contains the four IDX files. Writes them in each container into a temporary
folder (half a gigabyte), reads each in a process of its own and prints a table: the
data set that ``load`` recognises, if the arrays are those of the IDX files, the time
of ``load`` and the peak memory of the process. Six minutes on two cores.
"""

import contextlib
import io
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import scripts
from fmnist_jax.data import idx, load

Pairs = dict[str, tuple[np.ndarray, np.ndarray]]  # images and labels of train and test

MEASURE = """
import json, resource, sys, time
from fmnist_jax import load
start = time.perf_counter()
data = load(sys.argv[1])
seconds = time.perf_counter() - start
memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps([data.title, data.fingerprint, seconds, memory]))
"""


def png(image: np.ndarray) -> bytes:
    """Returns an image, uint8 ``[H, W]`` or ``[H, W, 3]``, as PNG."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(image).save(file, "png", compress_level=1)
    return file.getvalue()


def to_idx(pairs: Pairs, folder: Path) -> Path:
    """Writes the four IDX files, and returns their folder, as all writers do."""
    for split, arrays in pairs.items():
        for role, array in zip(("images", "labels"), arrays, strict=True):
            body = idx.header(array.astype(np.uint8)) + array.astype(np.uint8).tobytes()
            (folder / idx.FILES[f"{split}_{role}"]).write_bytes(body)
    return folder


def to_npz(pairs: Pairs, folder: Path) -> Path:
    """Writes an archive with the names of Keras."""
    arrays: dict[str, Any] = {}
    for split, (images, labels) in pairs.items():
        arrays |= {f"x_{split}": images, f"y_{split}": labels}
    np.savez_compressed(folder / "data.npz", **arrays)
    return folder


def to_npy(pairs: Pairs, folder: Path) -> Path:
    """Writes a file for each array."""
    for split, (images, labels) in pairs.items():
        np.save(folder / f"{split}_images.npy", images)
        np.save(folder / f"{split}_labels.npy", labels)
    return folder


def to_csv(pairs: Pairs, folder: Path) -> Path:
    """Writes tables with the names of files and columns of Kaggle's."""
    for split, (images, labels) in pairs.items():
        flat = images.reshape(len(images), -1)
        header = ",".join(["label", *(f"pixel{i + 1}" for i in range(flat.shape[1]))])
        np.savetxt(
            folder / f"fashion-mnist_{split}.csv",
            np.column_stack([labels, flat]),
            fmt="%d",
            delimiter=",",
            header=header,
            comments="",
        )
    return folder


def to_parquet(pairs: Pairs, folder: Path) -> Path:
    """Writes the files of Hugging Face: structs of image bytes, and labels."""
    import pyarrow as pa
    from pyarrow import parquet

    (folder / "data").mkdir()
    for split, (images, labels) in pairs.items():
        rows = [{"bytes": png(image), "path": None} for image in images]
        fields = pa.struct({"bytes": pa.binary(), "path": pa.string()})
        table = pa.table({"image": pa.array(rows, fields), "label": labels})
        path = folder / "data" / f"{split}-00000-of-00001.parquet"
        parquet.write_table(table, path)
    return folder


def to_folders(pairs: Pairs, folder: Path) -> Path:
    """Writes PNG files in a folder for each class of each split."""
    for split, (images, labels) in pairs.items():
        for label in set(labels.tolist()):
            (folder / split / str(label)).mkdir(parents=True)
        for position, (image, label) in enumerate(zip(images, labels, strict=True)):
            path = folder / split / str(label) / f"{position:05}.png"
            path.write_bytes(png(image))
    return folder


def to_tfds(pairs: Pairs, folder: Path, name: str = "fashion_mnist") -> Path:
    """Prepares an array_record directory by the builder and writer of TFDS.

    Returns:
      The folder of the prepared version.
    """
    import tensorflow_datasets

    def examples(images: np.ndarray, labels: np.ndarray) -> Iterator[Any]:
        for index, (image, label) in enumerate(zip(images, labels, strict=True)):
            example = {"image": png(image), "label": int(label), "id": str(index)}
            yield index, {key: example[key] for key in builder.info.features}

    tensorflow_datasets.disable_progress_bar()
    builder = tensorflow_datasets.builder(
        name, data_dir=str(folder), file_format="array_record"
    )
    builder._split_generators = lambda *_: {
        split: examples(*arrays) for split, arrays in pairs.items()
    }
    config = tensorflow_datasets.download.DownloadConfig(try_download_gcs=False)
    with contextlib.redirect_stdout(io.StringIO()):
        builder.download_and_prepare(download_config=config)
    return Path(builder.data_dir)


WRITERS: dict[str, Callable[[Pairs, Path], Path]] = {
    "IDX": to_idx,
    "npz": to_npz,
    "npy": to_npy,
    "CSV": to_csv,
    "Parquet": to_parquet,
    "PNG folders": to_folders,
    "TFDS": to_tfds,
}


def main(folder: str) -> None:
    """Prints the table."""
    data = load("fashion_mnist", folder)
    pairs: Pairs = {"train": tuple(data.train), "test": tuple(data.test)}
    print(
        "| container | data set | same arrays | seconds | MiB |\n|---|---|---|---|---|"
    )
    for name, write in WRITERS.items():
        with tempfile.TemporaryDirectory() as root:
            path = write(pairs, Path(root))
            command = [sys.executable, "-W", "ignore", "-c", MEASURE, str(path)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
            title, fingerprint, seconds, memory = json.loads(done.stdout)
        same = "yes" if fingerprint == data.fingerprint else "no"
        print(
            f"| {name} | {title} | {same} | {seconds:.1f} | {memory:.0f} |", flush=True
        )


if __name__ == "__main__":
    scripts.run(main, __doc__)
