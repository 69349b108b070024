"""What a search is: stages of sweeps, each planned from the results before it. No jax.

A sweep of a whole grid is the search with one stage.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    import xarray as xr

    from fmnist_jax.sweeps.checkpoints import Part
    from fmnist_jax.sweeps.planning import Plan
    from fmnist_jax.sweeps.progress import SweepProgress

    Stages = list[SweepProgress]


class Search(Protocol):
    """Which runs of a plan are trained, and how far."""

    @property
    def settings(self) -> Mapping[str, str]:
        """Its settings by name, which determine results as versions do."""

    def first(self, plan: "Plan") -> "Plan":
        """Returns the plan of the first stage, from that of all runs."""

    def expectation(self, plans: Sequence["Plan"]) -> tuple[float, str]:
        """Returns the expected share of all epochs that is trained, and a sentence.

        The sentence is "" if it is every epoch of every run.
        """

    def num_epochs(self, stages: "Stages") -> int:
        """Returns the number of epochs of all runs that are planned so far."""

    def run(self, stages: "Stages", is_stopped: Callable[[], bool]) -> Iterator["Part"]:
        """Trains from stage to stage, saves checkpoints, and yields new parts.

        ``stages`` has the first stage, as it was opened; later ones are appended. If
        ``is_stopped()`` is true after an epoch, KeyboardInterrupt is raised.
        """

    def labelled(self, stages: "Stages") -> "list[xr.Dataset]":
        """Returns the results of each sweep, also of an interrupted search."""


class Grid(NamedTuple):
    """Trains every run to the end, in one stage."""

    @property
    def settings(self) -> Mapping[str, str]:
        """None."""
        return {}

    def first(self, plan: "Plan") -> "Plan":
        """Returns the plan of all runs."""
        return plan

    def expectation(self, plans: Sequence["Plan"]) -> tuple[float, str]:
        """Returns 1, and no sentence."""
        return 1.0, ""

    def num_epochs(self, stages: "Stages") -> int:
        """Returns the number of epochs of this process's runs."""
        from fmnist_jax.sweeps.progress import num_epochs

        return num_epochs(stages[0])

    def run(self, stages: "Stages", is_stopped: Callable[[], bool]) -> Iterator["Part"]:
        """Trains this process's runs; see ``Search``."""
        from fmnist_jax.sweeps.resuming import run_sweeps

        yield from run_sweeps(stages[0], is_stopped)

    def labelled(self, stages: "Stages") -> "list[xr.Dataset]":
        """Returns the results of each sweep."""
        return [joined(stages, number) for number in range(len(stages[0].plans))]


def joined(
    stages: Sequence["SweepProgress"], number: int, more: Iterable["Part"] = ()
) -> "xr.Dataset":
    """Returns the labelled results of a sweep after all stages.

    Each stage numbers its groups anew. The results include the further parts ``more``.
    """
    from fmnist_jax.sweeps.labelling import join, num_halved
    from fmnist_jax.sweeps.progress import saved_parts

    pairs = [(s.plans[number], saved_parts(s, number)) for s in stages]
    parts = [part for _, some in pairs for part in some]
    parts = [part._replace(group=0) for part in (*parts, *more)]
    results = join(stages[0].plans[number], parts, stages[0].data[number])
    halved = sum(num_halved(*pair) for pair in pairs)
    results.attrs["groups_halved_for_memory"] = halved
    return results
