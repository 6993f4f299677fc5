"""A picture of a matrix of scores; proteins with similar scores are neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from holotype.errors import DataError, MissingExtraError
from holotype.files import writing
from holotype.proteins.prediction.output import check_output
from holotype.proteins.prediction.scoring import Floats, Integers

MOST = 1000
"""The most proteins of a side; more could not be told apart."""
ENDINGS = (".png", ".svg", ".pdf")
_MOST_NAMES = 60
_MOST_NUMBERS = 16


def check_picture(path: Path, *, overwrite: bool) -> None:
    """Refuse a picture that cannot be drawn, before anything is computed.

    Raises:
        DataError: the ending is not in `ENDINGS`, the file exists, or its folder cannot be written to.
        MissingExtraError: matplotlib is not installed.
    """
    if path.suffix.lower() not in ENDINGS:
        raise DataError(
            f"{path}: pictures end in {', '.join(ENDINGS)}.",
            given=str(path),
            hint=f"--picture {path.with_suffix('.png')}",
        )
    check_output(path, overwrite=overwrite)
    _figure()


def check_size(rows: int, columns: int) -> None:
    """Refuse a matrix that is too large to draw.

    Raises:
        DataError: a side has more than `MOST` proteins.
    """
    if max(rows, columns) > MOST:
        raise DataError(
            f"a picture shows at most {MOST:,} proteins a side, got {max(rows, columns):,}.",
            given=max(rows, columns),
            hint="Leave out --picture, or give a FASTA file of the proteins to show.",
        )


def draw_matrix(path: Path, matrix: Floats, rows: Sequence[str], columns: Sequence[str], title: str) -> Path:
    """Draw probabilities of interaction as a matrix, clustered.

    Args:
        path: the picture, ``.png``, ``.svg`` or ``.pdf``.
        matrix: (R, C) probabilities, NaN where there is none.
        rows: R names.
        columns: C names; if they equal the rows, both sides have the same order.
        title: of the picture.
    """
    figure_class, backend = _figure()
    same = list(rows) == list(columns)
    row_order = clustered(matrix)
    column_order = row_order if same else clustered(matrix.T)
    shown = matrix[np.ix_(row_order, column_order)]
    named = max(len(rows), len(columns)) <= _MOST_NAMES
    cell = 0.22 if named else 8.0 / max(len(rows), len(columns))
    longest = max(map(len, (*rows, *columns)), default=0) if named else 0
    margin = 0.6 + 0.075 * min(longest, 40)
    width = max(4.5, cell * len(columns) + margin + 1.2)
    figure = figure_class(figsize=(width, max(3.2, cell * len(rows) + margin + 0.6)), layout="constrained")
    backend(figure)
    axes = figure.add_subplot()
    colours = _colours()
    # Scores of few proteins are close together: the colours span their range, rounded to tenths.
    seen = shown[np.isfinite(shown)]
    low = float(np.floor(seen.min(initial=1) * 10) / 10) if seen.size else 0.0
    high = float(np.ceil(seen.max(initial=0) * 10) / 10) if seen.size else 1.0
    high = max(high, low + 0.1)
    image = axes.imshow(
        np.ma.masked_invalid(shown),
        vmin=low,
        vmax=high,
        cmap=colours,
        interpolation="nearest",
        aspect="equal",
    )
    axes.set_title(title, fontsize=9)
    if named:
        axes.set_xticks(
            range(len(columns)), [_short(columns[at]) for at in column_order], rotation=90, fontsize=7
        )
        axes.set_yticks(range(len(rows)), [_short(rows[at]) for at in row_order], fontsize=7)
    else:
        axes.set_xlabel(f"{len(columns):,} proteins")
        axes.set_ylabel(f"{len(rows):,} proteins")
    if max(shown.shape) <= _MOST_NUMBERS:
        for (row, column), value in np.ndenumerate(shown):
            if np.isfinite(value):
                ink = "white" if value > low + 0.6 * (high - low) else "black"
                axes.text(column, row, f"{value:.2f}"[-3:], ha="center", va="center", fontsize=5.5, color=ink)
    bar = figure.colorbar(image, ax=axes, fraction=0.046, pad=0.02)
    bar.set_label("probability of interaction", fontsize=8)
    with writing(path) as file:
        figure.savefig(file, dpi=160, format=path.suffix.removeprefix(".") or "png")
    return path


def clustered(matrix: Floats) -> Integers:
    """An order of the rows in which similar rows are neighbours.

    Average linkage on the Euclidean distance of rows; two clusters are joined at their nearest ends. Missing
    values count as the mean of all.
    """
    count = len(matrix)
    known = np.isfinite(matrix)
    filled = np.where(known, matrix, matrix[known].mean() if known.any() else 0.0).astype(np.float64)
    square = (filled**2).sum(1)
    apart = np.sqrt(np.maximum(square[:, None] + square - 2 * filled @ filled.T, 0))
    between = apart.copy()
    np.fill_diagonal(between, np.inf)
    orders: list[list[int]] = [[at] for at in range(count)]
    for _ in range(count - 1):
        left, right = sorted(divmod(int(between.argmin()), count))
        orders[left] = _joined(orders[left], orders[right], apart)
        sizes = len(orders[left]) - len(orders[right]), len(orders[right])
        merged = (between[left] * sizes[0] + between[right] * sizes[1]) / sum(sizes)
        between[left, :] = between[:, left] = merged
        between[left, left] = np.inf
        between[right, :] = between[:, right] = np.inf
    return np.array(orders[0] if count else [], np.int64)


def _joined(left: list[int], right: list[int], apart: Any) -> list[int]:
    """Two orders joined at their nearest ends."""
    ways = [
        (apart[left[-1], right[0]], left, right),
        (apart[left[-1], right[-1]], left, right[::-1]),
        (apart[left[0], right[0]], left[::-1], right),
        (apart[left[0], right[-1]], left[::-1], right[::-1]),
    ]
    _, first, second = min(ways, key=lambda way: way[0])
    return [*first, *second]


def _short(name: str) -> str:
    """``P53_HUMAN`` for ``sp|P04637|P53_HUMAN``; long names are cut."""
    parts = name.split("|")
    own = parts[2] if len(parts) == 3 and parts[0] in ("sp", "tr") and parts[2] else name
    own = own.replace("$", r"\$")  # matplotlib reads the text between two as a formula
    return own if len(own) <= 40 else f"{own[:39]}…"


def _colours() -> Any:
    import matplotlib

    return matplotlib.colormaps["viridis_r"].with_extremes(bad="#dddddd")


def _figure() -> tuple[Any, Any]:
    try:
        # Not pyplot, which would open windows and change global state.
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError(
            "drawing a picture needs matplotlib, which is not installed.",
            given="matplotlib",
            hint='pip install "holotype[report]"',
        ) from error
    return Figure, FigureCanvasAgg
