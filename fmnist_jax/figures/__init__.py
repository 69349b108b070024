"""Labelled results to figures. Imports no jax, trains nothing, saves nothing."""

import os

try:
    import matplotlib
except ValueError:  # of a MPLBACKEND that it does not know: these figures need none
    _backend = os.environ.pop("MPLBACKEND", None)
    import matplotlib  # noqa: F401

    if _backend is not None:
        os.environ["MPLBACKEND"] = _backend
