"""Several experiments, one after the other, that go on where they were stopped."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments import unfinished
from experiments.folders import PARTS


def through(
    root: Path, names: Sequence[str], selection: Mapping[str, Any], overwrite: bool
) -> Iterator[int]:
    """Goes through several experiments, or through those that are left.

    Args:
      root: the folder of their folders.
      names: of the experiments.
      selection: what decides their results, as JSON knows it.
      overwrite: whether another selection that is not finished may be dropped.

    Yields:
      The position of each that is to be done; it is when the next one is asked for.

    Raises:
      UserError: where something else was begun.
    """
    saved, problem = unfinished.saved_in(root, "selection")
    if saved is not None and saved["selection"] != selection:
        problem = "a selection that is not finished, with other flags or data"
    unfinished.refuse(root, problem, overwrite)
    done: list[str] = saved["done"] if saved is not None and not problem else []
    if problem:
        unfinished.write_plan(root, {"selection": selection, "done": done}, alone=True)
    for index, name in enumerate(names):
        if name in done:
            print(f"{name} is done already.\n")
            continue
        yield index
        done = [*done, name]
        unfinished.write_plan(root, {"selection": selection, "done": done}, alone=False)
    unfinished.discard(root / PARTS)
