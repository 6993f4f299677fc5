"""A report as one HTML file that loads and runs nothing, and suits phones and paper."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

from holotype.errors import DataError
from holotype.files import check_new, write_file
from holotype.proteins.evaluation.baselines import BASELINES
from holotype.proteins.evaluation.metrics import ECE_BINS, METRICS
from holotype.proteins.evaluation.results import Evaluation, Subset, Value

HTML, JSON, FIGURES = "report.html", "evaluation.json", "figures"


class Written(NamedTuple):
    """The files of a report.

    Attributes:
        html: the page.
        json: the same figures, for programs.
        figures: as SVG; `holotype.proteins.evaluation.plots.write` also writes PDF.
    """

    html: Path
    json: Path
    figures: tuple[Path, ...]


def write_report(evaluation: Evaluation, folder: str | Path, *, overwrite: bool = False) -> Written:
    """Write ``report.html``, ``evaluation.json`` and ``figures/*.svg`` into a folder.

    Args:
        evaluation: what to report.
        folder: created if it does not exist; other files in it are kept.
        overwrite: replace an earlier report.

    Raises:
        DataError: a report exists, or the folder cannot be written to.
        MissingExtraError: matplotlib is not installed.
    """
    folder = Path(folder)
    check_folder(folder, overwrite=overwrite)
    from holotype.proteins.evaluation import plots

    drawn = plots.figures(evaluation)
    pictures = {name: plots.write(figure, "svg") for name, figure in drawn.items()}
    files = {folder / FIGURES / f"{name}.svg": picture for name, picture in pictures.items()}
    files[folder / JSON] = (json.dumps(evaluation.to_dict(), indent=2, default=str) + "\n").encode()
    files[folder / HTML] = as_html(evaluation, pictures).encode()
    try:
        (folder / FIGURES).mkdir(parents=True, exist_ok=True)
        for path, content in files.items():
            write_file(path, content)
    except OSError as error:
        raise DataError(
            f"{folder} cannot be written to: {error.strerror or error}.", given=str(folder)
        ) from error
    return Written(folder / HTML, folder / JSON, tuple(path for path in files if path.suffix == ".svg"))


def check_folder(folder: Path, *names: str, overwrite: bool = False) -> None:
    """Refuse a folder that cannot take a report, before any work is done.

    Args:
        folder: for the report.
        names: of other files that will be written beside it.
        overwrite: replace an earlier report.

    Raises:
        DataError: it is a file, or holds one of the files and `overwrite` is False.
    """
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder} is a file; the report needs a folder.", given=str(folder))
    check_new(*(folder / name for name in (HTML, JSON, *names)), overwrite=overwrite)


def as_html(evaluation: Evaluation, pictures: Mapping[str, bytes]) -> str:
    """The report as an HTML page.

    Args:
        evaluation: what to report.
        pictures: name -> SVG.
    """
    title = escape(evaluation.title)
    parts = [
        _summary(evaluation),
        _section("Figures", _figures(evaluation, pictures)) if pictures else "",
        _section("Baselines", _baselines(evaluation)),
        _section("All metrics", _metrics(evaluation)),
        _section("How this was measured", _method(evaluation)),
        _section("What was measured", _about(evaluation)) if evaluation.about else "",
    ]
    return (
        "<!DOCTYPE html>\n"
        f'<html lang="en"><head><meta charset="utf-8"><title>{title}: evaluation</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        # Even if something escaped the escaping, the page loads and runs nothing.
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'\">\n"
        f"<style>{_CSS}</style></head>\n<body><main>\n{''.join(parts)}"
        f"<footer>{_made()}</footer>\n</main></body></html>\n"
    )


_STATES = {
    "better": ("good", "✓", "Better than its baselines"),
    "level": ("doubt", "≈", "Not shown to be better than its best baseline"),
    "worse": ("bad", "✗", "Worse than its best baseline"),
    "unknown": ("doubt", "?", "No verdict"),
}


def _summary(evaluation: Evaluation) -> str:
    one = evaluation.headline
    kind, sign, words = _STATES[evaluation.state]
    if evaluation.state == "better" and set(one.baselines) == {"majority"}:
        words = "Better than the majority class; no other baseline was computed"
    tiles = "".join(
        f'<div class="tile"><span>{escape(METRICS[name].title)}</span><b>{_number(one.metrics[name])}</b>'
        f"<small>{_range(one.metrics[name])}</small></div>"
        for name in ("auroc", "average_precision", "mcc", "ece")
        if one.metrics[name].value == one.metrics[name].value
    )
    notes = "".join(f"<li>{escape(note)}</li>" for note in evaluation.notes)
    return (
        f"<header><h1>{escape(evaluation.title)}</h1><p>{escape(_counts(one))}</p></header>\n"
        f'<p class="verdict {kind}"><b><i aria-hidden="true">{sign}</i> {words}.</b> '
        f"{escape(evaluation.verdict)}</p>\n"
        f'<div class="tiles">{tiles}</div>\n' + (f'<ul class="notes">{notes}</ul>\n' if notes else "")
    )


def _counts(one: Subset) -> str:
    share = one.positives / one.pairs
    what = one.text if one.name == "all" else f"{one.name}, {one.text}"
    return f"Headline: {what}; {one.pairs:,} pairs, {one.positives:,} of them positive ({share:.1%})."


_CAPTIONS = {
    "roc": "True over false positive rate. The grey diagonal is chance.",
    "precision_recall": "The grey line is the share of positives, which chance reaches.",
    "reliability": "Points on the diagonal are calibrated; below, the number of pairs of each bin.",
    "scores": "The distribution of the scores of each label.",
    "confusion": "Pairs by label and call; shares are of each row.",
}


def _figures(evaluation: Evaluation, pictures: Mapping[str, bytes]) -> str:
    cells = []
    for name, svg in pictures.items():
        # As an image, not as markup: ids cannot clash, and nothing in it runs.
        data = base64.b64encode(svg).decode()
        text = _CAPTIONS.get(name, "")
        label = escape(f"{name.replace('_', '-')}: {text}")
        cells.append(
            f'<figure><img alt="{label}" src="data:image/svg+xml;base64,{data}">'
            f"<figcaption>{escape(text)}</figcaption></figure>"
        )
    return f'<div class="figures">{"".join(cells)}</div>'


def _baselines(evaluation: Evaluation) -> str:
    one = evaluation.headline
    rows: list[tuple[str, str, Sequence[str]]] = [
        ("<b>the model</b>", "model", [_cell(one.metrics["auroc"]), _cell(one.metrics["average_precision"])])
    ]
    order = sorted(one.baselines, key=lambda name: _rank(one.baselines[name]["auroc"]))
    for name in order:
        values = one.baselines[name]
        text = f"<b>{escape(name).replace('_', '_<wbr>')}</b><small>{escape(BASELINES.get(name, ''))}</small>"
        rows.append(
            (
                text,
                "best" if name == one.best else "",
                [_cell(values[m]) for m in ("auroc", "average_precision")],
            )
        )
    accuracy = one.baselines["majority"].get("accuracy") if "majority" in one.baselines else None
    after = (
        f"<p>Giving every pair the commoner label has an accuracy of {_number(accuracy)}"
        + (
            f"; the model has {_number(one.metrics['accuracy'])}.</p>"
            if one.metrics["accuracy"].value == one.metrics["accuracy"].value
            else ".</p>"
        )
        if accuracy is not None
        else ""
    )
    missing = [name for name in BASELINES if name not in one.baselines]
    if missing:
        after += f"<p>Not computed without training pairs, sequences or embeddings: {', '.join(missing)}.</p>"
    return (
        "<p>They use no sequence, or learn nothing. A model that does not beat them has not been shown to "
        f"know anything about interactions. {escape(_where(one))}</p>"
        + _table(("", "AUROC", "average precision"), rows)
        + after
    )


def _rank(value: Value) -> float:
    return float("inf") if value.value != value.value else -value.value


def _where(one: Subset) -> str:
    return "On all test pairs." if one.name == "all" else f"On {one.name}: {one.text}."


def _metrics(evaluation: Evaluation) -> str:
    head = ["", *(f"{one.name}<small>{one.pairs:,} pairs</small>" for one in evaluation.shown)]
    rows = []
    for name, metric in METRICS.items():
        if all(one.metrics[name].value != one.metrics[name].value for one in evaluation.shown):
            continue
        text = f"<b>{escape(metric.title)}</b><small>{escape(metric.text)}</small>"
        rows.append((text, "", [_cell(one.metrics[name]) for one in evaluation.shown]))
    reasons = [
        f"<li>{escape(METRICS[name].title)}, {escape(one.name)}: {escape(value.why)}</li>"
        for one in evaluation.shown
        for name, value in one.metrics.items()
        if value.why and value.why != _NO_PROBABILITIES
    ]
    after = f"<p>Without a value:</p><ul>{''.join(reasons)}</ul>" if reasons else ""
    classes = (
        "<p>C1: training has seen both proteins of the pair; C2: one; C3: neither. "
        "Memorising a protein helps on C1 and C2 only.</p>"
        if len(evaluation.subsets) > 1
        else ""
    )
    return classes + _table(head, rows, raw=True) + after


_NO_PROBABILITIES = "the scores are not probabilities"


def _method(evaluation: Evaluation) -> str:
    lines = [
        f"Intervals are of 95 %: percentiles of {evaluation.resamples:,} bootstrap resamples over pairs, "
        f"stratified by label (seed {evaluation.seed}). Differences to a baseline use the same resamples.",
        "Pairs that share a protein are not independent, so the truth is somewhat less certain than these "
        "intervals.",
        "Tied scores share their rank: half a win in AUROC, one step in average precision.",
    ]
    if evaluation.probabilities:
        lines += [
            f"A pair is called positive if its probability is at least {evaluation.threshold:g}.",
            f"ECE is over {ECE_BINS} bins of equal width. It is above 0 even for a perfect model, more so "
            "with few pairs, and resampling adds to it: its interval may lie above the value.",
        ]
    if evaluation.temperature is not None:
        lines.append(
            f"Logits were divided by a temperature of {evaluation.temperature:.4g}, fitted on validation."
        )
    return f"<ul>{''.join(f'<li>{escape(line)}</li>' for line in lines)}</ul>"


def _about(evaluation: Evaluation) -> str:
    rows = "".join(
        f"<dt>{escape(str(key).replace('_', ' '))}</dt><dd>{escape(_text(value))}</dd>"
        for key, value in evaluation.about.items()
        if value not in (None, "", [], {}, ())
    )
    return f"<dl>{rows}</dl>"


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} = {_text(item)}" for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_text, value))
    return str(value)


def _made() -> str:
    import holotype

    return f"Holotype {escape(holotype.__version__)}. The same figures, for programs: {JSON}."


def _section(title: str, body: str) -> str:
    return f"<section><h2>{escape(title)}</h2>\n{body}</section>\n"


def _table(head: Iterable[str], rows: Iterable[tuple[str, str, Sequence[str]]], *, raw: bool = False) -> str:
    """A table whose first column and cells are HTML already."""
    titles = "".join(f"<th>{title if raw else escape(title)}</th>" for title in head)
    body = "".join(
        f'<tr class="{kind}"><th scope="row">{name}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>'
        for name, kind, cells in rows
    )
    return f'<div class="scroll"><table><thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table></div>'


def _cell(value: Value) -> str:
    reach = _range(value)
    return _number(value) + (f"<small>{reach}</small>" if reach else "")


def _number(value: Value) -> str:
    return "–" if value.value != value.value else f"{value.value:.3f}"


def _range(value: Value) -> str:
    low, high = value.interval
    return "" if low != low else f"{low:.3f}{' to ' if low < 0 else '–'}{high:.3f}"


_CSS = """
:root{color-scheme:light;--ink:#1f2328;--soft:#5b636b;--line:#d9dee3;--blue:#0072B2}
*{box-sizing:border-box}
body{margin:0;background:#fff;color:var(--ink);font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,
"Helvetica Neue",Arial,sans-serif}
main{max-width:60rem;margin:0 auto;padding:1.5rem 1rem 3rem}
h1{font-size:1.6rem;line-height:1.25;margin:0 0 .25rem;overflow-wrap:anywhere}
h2{font-size:1.15rem;margin:2.2rem 0 .6rem;padding-bottom:.25rem;border-bottom:1px solid var(--line)}
header p{margin:.1rem 0 1rem;color:var(--soft)}
.verdict{border-left:.35rem solid;border-radius:.25rem;padding:.7rem .9rem;margin:0 0 1rem;
overflow-wrap:anywhere}
.verdict b{display:block}.verdict i{font-style:normal}
.good{border-color:#009E73;background:#eaf6f2}.doubt{border-color:#E69F00;background:#fdf5e3}
.bad{border-color:#D55E00;background:#fcece3}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(8.5rem,1fr));gap:.6rem}
.tile{border:1px solid var(--line);border-radius:.4rem;padding:.55rem .75rem}
.tile span,.tile small{display:block;color:var(--soft);font-size:.82rem}
.tile b{font-size:1.6rem;line-height:1.3;font-variant-numeric:tabular-nums}
.notes{padding-left:1.1rem;color:var(--soft);overflow-wrap:anywhere}
.figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(17rem,1fr));gap:1rem}
figure{margin:0;break-inside:avoid}figure img{width:100%;height:auto;display:block}
figcaption{color:var(--soft);font-size:.82rem;padding:.2rem .4rem}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{padding:.4rem .5rem;text-align:right;vertical-align:top;border-bottom:1px solid var(--line);
font-weight:400}
th:first-child{text-align:left}thead th{font-weight:600;vertical-align:bottom}
td,thead small{white-space:nowrap}th b{font-weight:600}
th small,td small{display:block;color:var(--soft);font-size:.78rem;font-weight:400}
tr.model{background:#eef5fa}tr.best th b::after{content:" (best)";color:var(--soft);font-weight:400}
dl{display:grid;grid-template-columns:minmax(7rem,auto) 1fr;gap:.25rem .9rem;margin:0}
dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}
footer{margin-top:2.5rem;color:var(--soft);font-size:.82rem}
@media(max-width:30rem){body{font-size:15px}th,td{padding:.35rem .3rem}th small{font-size:.74rem}
dl{grid-template-columns:1fr}dd{margin-bottom:.4rem}}
@media print{@page{margin:14mm}body{font-size:9.5pt}main{max-width:none;padding:0}h2{break-after:avoid}
tr,.verdict,.tile,figure{break-inside:avoid}
.figures{grid-template-columns:1fr 1fr 1fr}.scroll{overflow:visible}
.verdict,tr.model{-webkit-print-color-adjust:exact;print-color-adjust:exact}}
"""
