"""Measurements of one run beside its losses and accuracies.

The names in ``__init__.pyi`` are loaded when first used (SPEC 1), so that importing
``probes.status`` does not start JAX.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
