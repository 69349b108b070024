"""``--zip`` and ``--sample``: replace axes of a grid by an axis of points."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fmnist_jax.config import SETTINGS, show
from fmnist_jax.errors import UserError, unknown
from fmnist_jax.runner.experiment import Answer, Experiment, Options
from fmnist_jax.runner.flag_values import Span

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

FLAGS = ("zip", "sample", "sample_seed")
MAX_CURVES = 8  # with more points, there is no figure of learning curves
SAMPLED, ZIPPED = "point", "combination"  # names of axes
Axes = Mapping[str, Any]


def with_points(
    experiment: Experiment, axes: Axes, options: Options
) -> tuple[Experiment, Axes, list[str]]:
    """Joins the axes that ``--zip`` pairs, and samples the ranges ``start:stop``.

    A ``Span`` among the values of an axis is to be sampled. Returns the experiment with
    figures for the new axes; the axes; and lines for the user.
    """
    ranges = {n: [x for x in v if isinstance(x, Span)] for n, v in axes.items()}
    spans = {name: some[0] for name, some in ranges.items() if some}
    _check_spans(axes, spans, options)
    zipped = [] if options["zip"] is None else _zipped(axes, options["zip"])
    if not zipped and not spans:
        return experiment, axes, []
    points: dict[str, list[dict[str, Any]]] = {}
    if spans:
        from fmnist_jax.search.sampling import sample_points

        seed = options["sample_seed"] or 0
        points[SAMPLED] = sample_points(spans, options["sample"], seed)
    if zipped:
        rows = zip(*(axes[name] for name in zipped), strict=True)
        points[ZIPPED] = [dict(zip(zipped, r, strict=True)) for r in rows]
    bundles = {name: _labelled(some) for name, some in points.items()}
    absorbed = {*spans, *zipped}
    rest = {name: values for name, values in axes.items() if name not in absorbed}
    lines = []
    if absorbed & {*(experiment.axes or {})}:
        lines.append(
            f"Tables and figures of {experiment.name} that need a separate axis for "
            "each setting are left out."
        )
        experiment = _with_figures(experiment, next(iter(bundles)), bundles)
    return experiment, {**bundles, **rest}, lines


def check_points(experiment: Experiment, options: Options) -> None:
    """Refuses ``--zip``, ``--sample`` and ranges for experiments that need a grid.

    Those with a plane, extra measurements or a search need one.
    """
    needs_grid = experiment.plane or experiment.extra_measurements or experiment.search
    given = [
        flag for flag in ("zip", "sample", "sample_seed") if options[flag] is not None
    ]
    if needs_grid and given:
        raise UserError(
            f"--{given[0]} cannot be used with {experiment.name}, which needs a "
            "separate axis for each setting; use another experiment, such as "
            "scale_sweep."
        )
    for name, values in options["settings"].items() if needs_grid else ():
        if any(isinstance(v, Span) for v in values) and options["refine"] is None:
            raise UserError(
                f"--{SETTINGS[name].flag}: {experiment.name} needs the number of "
                "values; give start:stop:count."
            )


def _check_spans(axes: Axes, spans: Mapping[str, Span], options: Options) -> None:
    for name, span in spans.items():
        text = f"--{SETTINGS[name].flag}={span.low:g}:{span.high:g}"
        if options["sample"] is None:
            raise UserError(
                f"{text} has no number of values: give start:stop:count, or draw "
                "random values with --sample=N."
            )
        if len(axes[name]) > 1:
            raise UserError(
                f"{text} is a range to sample; it must be the only value of its flag."
            )
    for flag in ("sample", "sample_seed"):
        if options[flag] is not None and not spans:
            raise UserError(
                f"--{flag} has no effect: no setting is given as start:stop, such as "
                "--learning_rates=1e-5:1."
            )


def _zipped(axes: Axes, text: str) -> list[str]:
    """Returns the settings that ``--zip`` names by their flags."""
    flags = [part.strip() for part in text.split(",")]
    settings = {s.flag: name for name, s in SETTINGS.items() if s.flag}
    for flag in flags:
        if flag not in settings:
            raise unknown("flag of a setting in --zip", flag, settings)
    names = [settings[flag] for flag in flags]
    if len({*names}) < max(2, len(names)):
        raise UserError(f"--zip={text}: expected at least two different flags.")
    for flag, name in zip(flags, names, strict=True):
        if name not in axes or any(isinstance(x, Span) for x in axes[name]):
            raise UserError(f"--zip={text}: give --{flag} a list of values.")
    counts = {flag: len(axes[n]) for flag, n in zip(flags, names, strict=True)}
    if len({*counts.values()}) > 1:
        listed = ", ".join(f"{count} of {flag}" for flag, count in counts.items())
        raise UserError(
            f"--zip={text} pairs values, but there are {listed}; give equally many."
        )
    return names


def _labelled(points: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Returns the points, labelled with their values as text."""

    def label(point: Mapping[str, Any], is_exact: bool) -> str:
        parts = [
            SETTINGS[name].value_type.text(value)
            if not isinstance(value, int | float)
            else (str(value) if is_exact else show(name, value))
            for name, value in point.items()
        ]
        return " & ".join(parts)

    labelled = {label(point, False): point for point in points}
    if len(labelled) < len(points):
        labelled = {label(point, True): point for point in points}
    if len(labelled) < len(points):
        raise UserError(
            "--zip or --sample: two points are the same; give each combination once, "
            "or sample a wider range or fewer points."
        )
    return labelled


def _with_figures(
    experiment: Experiment, axis: str, bundles: Mapping[str, Mapping[str, Any]]
) -> Experiment:
    def figures(dataset: "xr.Dataset") -> Mapping[str, "Figure"]:
        from fmnist_jax.figures.points import figure

        return {f"{name}s": figure(dataset, name) for name in bundles}

    has_curves = len(bundles[axis]) <= MAX_CURVES and experiment.curves_by
    return dataclasses.replace(
        experiment,
        curves_by=axis if has_curves else "",
        final_by="",
        figures=figures,
        answer=lambda dataset: Answer(),
    )
