"""Which runs of a sweep are a process's, as the command line says."""

from collections.abc import Mapping, Sequence
from typing import Any

from fmnist_jax.errors import UserError
from fmnist_jax.sweeps.plan_file import ALONE, Share
from fmnist_jax.values import ValueType


def _is_address(text: str) -> bool:
    host, _, port = text.rpartition(":")
    return bool(host) and port.isdecimal() and 1 <= int(port) <= 65_535


ADDRESS = ValueType(
    "HOST:PORT, the port from 1 to 65535", str, _is_address, str, numeric=False
)


def own(options: Mapping[str, Any]) -> Share:
    """Returns which groups the flags say are this process's.

    Raises:
      UserError: where there is no such share.
    """
    from fmnist_jax.runner.flags import parse_value

    total, text = options["num_shards"], options["shard_index"]
    if total is None:
        return ALONE
    return Share(parse_value("shard_index", _index(total), text), total)


def _index(total: int) -> ValueType:
    """Returns the kind of a number of one among so many."""
    last = total - 1
    return ValueType(f"a whole number from 0 to {last}", int, lambda v: 0 <= v <= last)


def check(options: Mapping[str, Any], experiments: Sequence[Any]) -> None:
    """Refuses flags of how runs are shared that do not go together.

    Raises:
      UserError: likewise.
    """
    from fmnist_jax.runner.flags import SHARING, parse_value

    given = {name for name in SHARING if options[name]}
    by_hand = {"coordinator", "num_processes", "process_id"}
    if not given:
        return
    if len(experiments) > 1 or options["out_dir"] is None:
        raise UserError(
            f"--{min(given)} needs one experiment and its --out_dir, where the runs of "
            "a share are kept."
        )
    if given not in (
        {"num_shards", "shard_index"}, {"distributed"}, {"distributed", *by_hand}
    ):  # fmt: skip
        raise UserError(
            "Runs are shared either by --num_shards=4 --shard_index=2, or by "
            "--distributed, alone or with --coordinator=HOST:PORT --num_processes=4 "
            f"--process_id=2; given: --{', --'.join(sorted(given))}."
        )
    own(options)
    if given > by_hand:
        parse_value("coordinator", ADDRESS, options["coordinator"])
        number = _index(options["num_processes"])
        parse_value("process_id", number, options["process_id"])
