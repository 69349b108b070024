"""Labelled results to figures. Imports no jax, trains nothing, saves nothing."""
