"""Labelled results to numbers, tables and sentences. Imports no jax."""
