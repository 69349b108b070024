"""Labelled results to figures. Imports no jax, trains nothing, saves nothing."""

import contextlib
import os
import sys

# matplotlib is not imported with a MPLBACKEND that it does not know; these figures need
# no backend.
if "matplotlib" not in sys.modules and (_backend := os.environ.pop("MPLBACKEND", "")):
    import matplotlib

    os.environ["MPLBACKEND"] = _backend
    with contextlib.suppress(ValueError):
        matplotlib.rcParams["backend"] = _backend
