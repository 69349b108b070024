"""Comparative timings of fmnist_jax and of alternative implementations."""
