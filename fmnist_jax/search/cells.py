"""Cells of a map, divided where its points differ. Imports no jax."""

import itertools
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

import numpy as np

UNKNOWN = -1  # the label of a point that is not trained


class Cell(NamedTuple):
    """A rectangle of a map, by the indices of its first and last rows and columns."""

    x0: int
    x1: int
    y0: int
    y1: int

    @property
    def is_divisible(self) -> bool:
        """Whether there are points between the corners."""
        return self.x1 - self.x0 > 1 or self.y1 - self.y0 > 1

    @property
    def is_smallest(self) -> bool:
        """Whether the parts of a divisible cell have no points between the corners."""
        return self.x1 - self.x0 <= 2 and self.y1 - self.y0 <= 2

    @property
    def corners(self) -> list[tuple[int, int]]:
        """The points at the corners."""
        return [(x, y) for x in (self.x0, self.x1) for y in (self.y0, self.y1)]


def coarse_cells(shape: Sequence[int], step: int) -> list[Cell]:
    """Returns the cells between every ``step``-th point, and the last, of a map."""
    ends = [sorted({*range(0, size, step), size - 1}) for size in shape]
    xs, ys = ends
    return [
        Cell(x0, x1, y0, y1)
        for x0, x1 in itertools.pairwise(xs)
        for y0, y1 in itertools.pairwise(ys)
    ]


def differs(cell: Cell, labels: np.ndarray) -> bool:
    """Whether two points within a cell or on its border are known to differ.

    ``labels`` are whole numbers ``[x, y]``, ``UNKNOWN`` for a point not trained.
    """
    points = labels[cell.x0 : cell.x1 + 1, cell.y0 : cell.y1 + 1]
    known = points[points != UNKNOWN]
    return bool(known.size and known.min() != known.max())


def divided(cell: Cell) -> list[Cell]:
    """Returns the two or four parts of a divisible cell."""
    xs, ys = (
        [low, (low + high) // 2, high] if high - low > 1 else [low, high]
        for low, high in ((cell.x0, cell.x1), (cell.y0, cell.y1))
    )
    return [
        Cell(x0, x1, y0, y1)
        for x0, x1 in itertools.pairwise(xs)
        for y0, y1 in itertools.pairwise(ys)
    ]


def leaves(labels: np.ndarray, step: int) -> list[Cell]:
    """Returns the cells of a map after dividing those whose points differ.

    The smallest divisible cells are not divided: ``unknown_points`` chooses points in
    them. ``step`` is that between the points of the coarse grid.
    """
    cells, undivided = coarse_cells(labels.shape, step), []
    while cells:
        cell = cells.pop()
        if not cell.is_smallest and differs(cell, labels):
            cells += divided(cell)
        else:
            undivided.append(cell)
    return undivided


def unknown_points(
    cells: Collection[Cell], labels: np.ndarray
) -> list[tuple[int, int]]:
    """Returns the points to train that are not trained yet, in order.

    These are the corners of all cells. In the smallest divisible cells that differ,
    they are also the centre, and the middle of each side whose ends differ: a side with
    equal ends seldom differs between them.
    """
    points = {point for cell in cells for point in cell.corners}
    for cell in cells:
        if cell.is_divisible and cell.is_smallest and differs(cell, labels):
            points.update(_between(cell, labels))
    return sorted(point for point in points if labels[point] == UNKNOWN)


def _between(cell: Cell, labels: np.ndarray) -> Iterator[tuple[int, int]]:
    """Yields the points to train between the corners of one of the smallest cells."""
    (x0, x1, y0, y1), x, y = cell, cell.x0 + 1, cell.y0 + 1
    is_wide, is_high = x < x1, y < y1
    if is_wide and is_high:
        yield x, y
    if is_wide:
        yield from ((x, at) for at in (y0, y1) if labels[x0, at] != labels[x1, at])
    if is_high:
        yield from ((at, y) for at in (x0, x1) if labels[at, y0] != labels[at, y1])


def nearest_corners(
    cells: Collection[Cell], labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns, for each point of a map, the indices of the nearest corner of its cell.

    That of a point with a known label is itself; ``[x, y]`` each.
    """
    x, y = np.zeros(labels.shape, int), np.zeros(labels.shape, int)
    for cell in sorted(cells):
        xs = np.arange(cell.x0, cell.x1 + 1)
        ys = np.arange(cell.y0, cell.y1 + 1)
        near_x = np.where(xs - cell.x0 <= cell.x1 - xs, cell.x0, cell.x1)
        near_y = np.where(ys - cell.y0 <= cell.y1 - ys, cell.y0, cell.y1)
        block = np.ix_(xs, ys)
        x[block] = near_x[:, None]
        y[block] = near_y[None, :]
    known = np.nonzero(labels != UNKNOWN)
    x[known], y[known] = known
    return x, y
