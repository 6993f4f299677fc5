"""The figures of a report, ready for a paper: one column wide, safe for colour-blind readers.

Nothing is shown by colour alone: lines differ in dash and width, marks in shape. The colours are those of
Okabe & Ito, Color universal design, 2008.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import numpy as np

from holotype.extras import missing_extra
from holotype.proteins.evaluation.metrics import (
    Curve,
    Floats,
    Scored,
    precision_recall_curve,
    roc_curve,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from holotype.proteins.evaluation.results import Evaluation

BLUE, ORANGE, GREEN, PURPLE, GREY, INK = "#0072B2", "#D55E00", "#009E73", "#AA4499", "#8A8A8A", "#222222"
_BASELINE_LINES = ((ORANGE, (0, (4, 2))), (GREEN, (0, (1, 1.3))), (PURPLE, (0, (5, 1.5, 1, 1.5))))
_SIZE = (3.4, 3.2)  # inches; 86 mm, a journal's column
_POINTS = 500
_STYLE: Mapping[Any, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so that figures are the same everywhere
    "font.size": 8,
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 8,
    "axes.linewidth": 0.6,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": True,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "legend.handlelength": 2.4,
    "lines.linewidth": 1.2,
    "lines.solid_capstyle": "round",
    "text.color": INK,
    "text.parse_math": False,  # a name may hold a $
    "figure.facecolor": "white",
    "figure.dpi": 150,
    "savefig.dpi": 300,
    "svg.fonttype": "path",
    "svg.hashsalt": "holotype",  # the same figures give the same bytes
    "pdf.fonttype": 42,
}


def figures(evaluation: Evaluation) -> dict[str, Figure]:
    """All figures that the evaluation allows: name -> matplotlib figure.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    rows = evaluation.headline.rows
    labels = evaluation.labels[rows]
    both = bool(labels.any() and not labels.all())
    drawn: dict[str, Callable[[Evaluation], Figure]] = {}
    if both:
        drawn |= {"roc": roc, "precision_recall": precision_recall}
    if evaluation.reliability is not None:
        drawn |= {"reliability": reliability_diagram}
    drawn |= {"scores": score_distributions}
    if evaluation.probabilities:
        drawn |= {"confusion": confusion}
    with _style():
        return {name: draw(evaluation) for name, draw in drawn.items()}


def write(figure: Figure, format: str) -> bytes:
    """A figure as a file: ``svg``, ``pdf`` or ``png``. The same figure gives the same bytes."""
    out = io.BytesIO()
    dated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
    with _style(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # boxes for names in a script that the font lacks
        figure.savefig(out, format=format, metadata=dated.get(format, {}))
    return out.getvalue()


def roc(evaluation: Evaluation) -> Figure:
    """True over false positive rate, of the model and its strongest baselines."""
    figure, axes = _square("ROC")
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.7, zorder=1)
    _curves(axes, evaluation, roc_curve, "auroc", "AUROC")
    _unit(axes)
    axes.set(xlabel="false positive rate", ylabel="true positive rate")
    axes.legend(loc="lower right", borderaxespad=0.2)
    return figure


def precision_recall(evaluation: Evaluation) -> Figure:
    """Precision over recall; the grey line is the share of positives, the precision of chance."""
    figure, axes = _square("Precision–recall")
    one = evaluation.headline
    axes.axhline(one.positives / one.pairs, color=GREY, linewidth=0.7, zorder=1)
    _curves(axes, evaluation, precision_recall_curve, "average_precision", "AP")
    _unit(axes)
    axes.set(xlabel="recall", ylabel="precision")
    if one.positives / one.pairs > 0.3:  # there is room below chance
        axes.legend(loc="lower left", bbox_to_anchor=(0.03, 0.0), borderaxespad=0.2)
    else:
        axes.legend(loc="best", borderaxespad=0.2)
    return figure


def _curves(
    axes: Axes, evaluation: Evaluation, curve: Callable[[Scored], Curve], metric: str, short: str
) -> None:
    one = evaluation.headline
    labels = evaluation.labels[one.rows]

    def draw(scores: Floats, label: str, value: float, **how: Any) -> None:
        line = _thinned(curve(Scored(labels, scores[one.rows])))
        axes.plot(line.x, line.y, label=f"{label}  {short} {value:.3f}", **how)

    # Constant baselines, such as degrees on C3, would be drawn like chance.
    names = [name for name in one.baselines if np.ptp(evaluation.baseline_scores[name][one.rows]) > 0]
    names.sort(key=lambda name: -one.baselines[name][metric].value)
    draw(evaluation.scores, "model", one.metrics[metric].value, color=BLUE, linewidth=1.8, zorder=4)
    for name, (colour, dashes) in zip(names, _BASELINE_LINES, strict=False):
        draw(
            evaluation.baseline_scores[name],
            name.replace("_", " "),
            one.baselines[name][metric].value,
            color=colour,
            linestyle=dashes,
            linewidth=1.1,
            zorder=3,
        )


def reliability_diagram(evaluation: Evaluation) -> Figure:
    """The share of positives over the probability, in bins; below, the number of pairs of each bin."""
    figure = _figure()
    upper, lower = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": [4, 1]})
    upper.set_title("Reliability")
    upper.plot([0, 1], [0, 1], color=GREY, linewidth=0.7, zorder=1)
    after, before = evaluation.reliability, evaluation.reliability_before
    kinds = [(before, "before scaling", ORANGE, "s", "white")]
    kinds += [(after, "after scaling" if before is not None else "model", BLUE, "o", BLUE)]
    for found, label, colour, marker, face in kinds:
        if found is None:
            continue
        used = found.pairs > 0
        upper.plot(
            found.probability[used],
            found.positive[used],
            color=colour,
            marker=marker,
            markersize=4,
            markerfacecolor=face,
            markeredgewidth=0.9,
            linewidth=1.0,
            clip_on=False,
            label=f"{label}  ECE {found.ece:.3f}",
            zorder=3,
        )
        middle = (found.edges[:-1] + found.edges[1:]) / 2
        width = found.edges[1] - found.edges[0]
        if found is after:
            lower.bar(middle, found.pairs, width * 0.9, color=BLUE, alpha=0.35, linewidth=0)
        else:
            lower.step(
                found.edges, np.r_[found.pairs, found.pairs[-1]], where="post", color=ORANGE, linewidth=0.9
            )
    _unit(upper)
    upper.set(ylabel="share of positives")
    upper.legend(loc="best", borderaxespad=0.2)
    lower.set(xlabel="probability", ylabel="pairs", xlim=(-0.01, 1.01))
    lower.yaxis.set_major_formatter(lambda value, _: _short(value))
    lower.locator_params(axis="y", nbins=2)
    return figure


def score_distributions(evaluation: Evaluation) -> Figure:
    """The distributions of the scores of positive and of negative pairs."""
    figure, axes = _square("Scores")
    rows = evaluation.headline.rows
    scores, labels = evaluation.scores[rows], evaluation.labels[rows]
    low, high = (0.0, 1.0) if evaluation.probabilities else (float(scores.min()), float(scores.max()))
    if high <= low:
        low, high = low - 0.5, high + 0.5
    edges = np.linspace(low, high, 41)
    tallest = 0.0
    for of, label, colour, dashes in (
        (~labels, "negative", ORANGE, (0, (4, 1.5))),
        (labels, "positive", BLUE, "solid"),
    ):
        if of.any():
            share = np.histogram(scores[of], edges)[0] / of.sum()
            tallest = max(tallest, float(share.max()))
            axes.stairs(share, edges, fill=True, color=colour, alpha=0.18)
            axes.stairs(
                share, edges, color=colour, linestyle=dashes, linewidth=1.3, label=f"{label}  {of.sum():,}"
            )
    if evaluation.probabilities:
        axes.axvline(evaluation.threshold, ymax=0.88, color=GREY, linewidth=0.7, zorder=1)
    axes.set(
        xlabel="probability" if evaluation.probabilities else "score", ylabel="share of the pairs of a label"
    )
    axes.set_ylim(0, tallest * 1.22)
    axes.margins(x=0.01)
    axes.legend(loc="upper center", ncols=2, borderaxespad=0.2, columnspacing=1.2)
    return figure


def confusion(evaluation: Evaluation) -> Figure:
    """Calls at the threshold against labels; shares are of each row."""
    from matplotlib.colors import LinearSegmentedColormap

    figure, axes = _square("Confusion")
    rows = evaluation.headline.rows
    called, labels = evaluation.scores[rows] >= evaluation.threshold, evaluation.labels[rows]
    counts = np.array(
        [[(labels == row) @ (called == column).astype(int) for column in (1, 0)] for row in (1, 0)]
    )
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    blues = LinearSegmentedColormap.from_list("blues", ["#FFFFFF", "#CFE3F1", BLUE])
    axes.imshow(shares, cmap=blues, vmin=0, vmax=1)
    for row in range(2):
        for column in range(2):
            dark = shares[row, column] > 0.8
            axes.text(
                column,
                row,
                f"{counts[row, column]:,}\n{shares[row, column]:.1%}",
                ha="center",
                va="center",
                color="white" if dark else INK,
                fontsize=10,
                linespacing=1.4,
            )
    axes.set_xticks([0, 1], ["positive", "negative"])
    axes.set_yticks([0, 1], ["positive", "negative"], rotation=90, va="center")
    axes.set(xlabel=f"called, at a threshold of {evaluation.threshold:g}", ylabel="label")
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_xticks([0.5], minor=True)
    axes.set_yticks([0.5], minor=True)
    axes.grid(which="minor", color="white", linewidth=2)
    axes.tick_params(which="minor", length=0)
    return figure


def _style() -> AbstractContextManager[None]:
    try:
        import matplotlib as mpl
    except ModuleNotFoundError as error:
        raise missing_extra(error, "A report with figures") or error from error
    return mpl.rc_context({**_STYLE})


def _figure() -> Figure:
    from matplotlib.figure import Figure  # not pyplot, which opens windows and changes global state

    return Figure(figsize=_SIZE, layout="constrained")


def _square(title: str) -> tuple[Figure, Axes]:
    figure = _figure()
    axes = figure.subplots()
    axes.set_title(title)
    return figure, axes


def _unit(axes: Axes) -> None:
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    ticks = np.linspace(0, 1, 6)
    axes.set_xticks(ticks)
    axes.set_yticks(ticks)


def _thinned(curve: Curve) -> Curve:
    """A curve of at most some hundred points that looks the same, so that files stay small."""
    if len(curve.x) <= _POINTS:
        return curve
    way = np.r_[0, np.cumsum(np.abs(np.diff(curve.x)) + np.abs(np.diff(curve.y)))]
    at = np.unique(np.searchsorted(way, np.linspace(0, way[-1], _POINTS)))
    at = np.unique(np.r_[0, at[at < len(way)], len(way) - 1])
    return Curve(curve.x[at], curve.y[at])


def _short(value: float) -> str:
    return f"{value / 1000:g}k" if value >= 1000 else f"{value:g}"
