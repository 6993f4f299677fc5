"""The report: one file that needs nothing, tells everything, and believes no name."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from holotype.errors import DataError
from holotype.proteins.evaluation import plots
from holotype.proteins.evaluation.evaluate import evaluate_predictions
from holotype.proteins.evaluation.metrics import METRICS, Curve
from holotype.proteins.evaluation.report import as_html, write_report

PAIRS = 600
HOSTILE = "<script>alert(1)</script>\"><img src=x onerror=alert(2)> & \u202e'; }"


def evaluation(strength=0.6, **how):
    rng = np.random.default_rng(0)
    labels = np.arange(PAIRS) % 2
    logits = 2 * (strength * (2 * labels - 1) + rng.normal(size=PAIRS))
    given = {
        "classes": np.repeat([1, 2, 3], PAIRS // 3),
        "baselines": {"degree_product": rng.poisson(3, PAIRS), "length": rng.normal(size=PAIRS)},
        "logits": logits,
        "temperature": 1.6,
        "resamples": 50,
        "title": "v2 on bernett",
        "about": {"data": "bernett"},
    }
    return evaluate_predictions(labels, 1 / (1 + np.exp(-logits / 1.6)), **{**given, **how})


class Page(HTMLParser):
    """What is in a page: tags, attributes, text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.open, self.text = [], [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in ("meta", "img", "wbr", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The evaluation, the folder, and the page's text."""
    folder = tmp_path_factory.mktemp("report") / "new" / "folder"
    one = evaluation()
    write_report(one, folder)
    return one, folder, (folder / "report.html").read_text(encoding="utf-8")


def test_what_is_written(written):
    _, folder, _ = written
    assert sorted(path.name for path in folder.iterdir()) == ["evaluation.json", "figures", "report.html"]
    names = ["confusion.svg", "precision_recall.svg", "reliability.svg", "roc.svg", "scores.svg"]
    assert sorted(path.name for path in (folder / "figures").iterdir()) == names
    assert all((folder / "figures" / name).read_bytes().startswith(b"<?xml") for name in names)


def test_the_json_holds_the_same_figures(written):
    one, folder, _ = written
    assert json.loads((folder / "evaluation.json").read_text()) == json.loads(json.dumps(one.to_dict()))


def test_the_page_needs_nothing_from_elsewhere(written):
    page = Page(written[2])
    assert not page.open
    assert {"script", "link", "iframe", "object"}.isdisjoint(page.tags)
    sources = [value for name, value in page.attributes if name in ("src", "href", "data", "action")]
    assert len(sources) == 5
    assert all(value.startswith("data:image/svg+xml;base64,") for value in sources)
    assert "@import" not in written[2]
    assert "url(" not in written[2]
    assert "default-src 'none'" in written[2]
    assert len(written[2]) < 1_000_000


def test_the_page_tells_it_all(written):
    one, _, text = written
    page = Page(text)
    assert one.verdict in page.text
    assert "bernett" in page.text
    for metric in METRICS.values():
        if metric.title != "precision@1000":
            assert metric.title in page.text
    for name in ("C1", "C2", "C3", "degree_product", "majority", "15 bins", "stratified"):
        assert name in page.text, name
    assert f"{one.metrics['auroc']:.3f}" in page.text


def test_every_picture_has_a_text_and_a_phone_its_width(written):
    page = Page(written[2])
    texts = [value for name, value in page.attributes if name == "alt"]
    assert len(texts) == 5
    assert all(len(value) > 20 for value in texts)
    assert "width=device-width" in written[2]
    assert "@media print" in written[2]


def test_hostile_names_stay_text():
    one = evaluation(
        title=HOSTILE,
        about={HOSTILE: {HOSTILE: [HOSTILE]}},
        notes=[HOSTILE],
        baselines={HOSTILE: np.arange(PAIRS)},
    )
    page = Page(as_html(one, {}))
    assert "script" not in page.tags
    assert "img" not in page.tags
    assert not page.open
    assert page.text.count("<script>alert(1)</script>") >= 5
    assert not any(name.startswith("on") for name, _ in page.attributes)


def test_hostile_names_can_be_drawn():
    found = evaluation(baselines={"$x^{$ \\frac <b> & \u4e2d": np.arange(PAIRS)})
    assert plots.write(plots.figures(found)["roc"], "svg").startswith(b"<?xml")


@pytest.mark.parametrize(
    ("strength", "baseline", "words"),
    [(2.0, 0.0, "Better than its baselines"), (0.3, 3.0, "Worse than its best baseline")],
)
def test_the_verdict_is_told_in_words_not_only_in_colour(strength, baseline, words):
    rng = np.random.default_rng(1)
    labels = np.arange(PAIRS) % 2
    one = evaluation(strength, baselines={"label_ratio": baseline * labels + rng.normal(size=PAIRS)})
    assert words in Page(as_html(one, {})).text


def test_an_earlier_report_is_not_overwritten_unasked(tmp_path, monkeypatch):
    monkeypatch.setattr(plots, "figures", lambda evaluation: {})
    (tmp_path / "report.html").write_text("mine")
    with pytest.raises(DataError, match=r"report\.html exists already[\s\S]*--overwrite"):
        write_report(evaluation(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    assert (tmp_path / "report.html").read_text() == "mine"
    write_report(evaluation(), tmp_path, overwrite=True)
    assert "v2 on bernett" in (tmp_path / "report.html").read_text()


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "x").write_text("")
    with pytest.raises(DataError, match="needs a folder"):
        write_report(evaluation(), tmp_path / "x")


def test_figures_are_those_that_the_scores_allow():
    assert list(plots.figures(evaluation())) == [
        "roc",
        "precision_recall",
        "reliability",
        "scores",
        "confusion",
    ]
    labels, scores = np.arange(40) % 2, np.linspace(-3, 9, 40)
    ranks = evaluate_predictions(labels, scores, resamples=5)
    assert list(plots.figures(ranks)) == ["roc", "precision_recall", "scores"]
    alone = evaluate_predictions([1, 1, 1], [0.2, 0.2, 0.2], resamples=5)
    assert list(plots.figures(alone)) == ["reliability", "scores", "confusion"]
    constant = evaluate_predictions(labels, np.full(40, -7.0), resamples=5)
    for figure in plots.figures(constant).values():
        assert plots.write(figure, "png").startswith(b"\x89PNG")


def test_the_same_evaluation_gives_the_same_bytes():
    one, two = (plots.write(plots.figures(evaluation())["roc"], "svg") for _ in range(2))
    assert one == two


def test_a_figure_can_be_a_pdf():
    figure = plots.figures(evaluation())["confusion"]
    assert plots.write(figure, "pdf").startswith(b"%PDF")


def test_drawing_leaves_the_settings_of_the_user_alone():
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    plots.figures(evaluation())
    assert dict(mpl.rcParams) == before


def test_long_curves_are_thinned_to_what_an_eye_sees():
    x = np.linspace(0, 1, 50_000)
    curve = Curve(x, np.sqrt(x))
    thin = plots._thinned(curve)
    assert len(thin.x) <= 502
    assert (thin.x[0], thin.x[-1]) == (0, 1)
    assert np.abs(np.interp(x, thin.x, thin.y) - curve.y).max() < 0.003


def test_lines_differ_in_more_than_colour():
    figure = plots.figures(evaluation())["roc"]
    styles = [
        (line.get_linestyle(), line.get_linewidth())
        for line in figure.axes[0].lines
        if "AUROC" in line.get_label()
    ]
    patterns = {
        str(line._unscaled_dash_pattern) for line in figure.axes[0].lines if "AUROC" in line.get_label()
    }
    assert len(styles) == len(patterns) == 3


def test_text_in_figures_does_not_leave_them():
    for name, figure in plots.figures(evaluation()).items():
        figure.draw_without_rendering()
        width, height = figure.bbox.width, figure.bbox.height
        texts = []
        for axes in figure.axes:
            texts += [axes.xaxis.label, axes.yaxis.label, *axes.texts, axes._left_title]
            texts += axes.get_legend().get_texts() if axes.get_legend() else []
        assert len([text for text in texts if text.get_text()]) >= 4
        for text in texts:
            box = text.get_window_extent()
            assert box.x0 > -2 and box.x1 < width + 2, (name, text.get_text())
            assert box.y0 > -2 and box.y1 < height + 2, (name, text.get_text())


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    import builtins

    from holotype.errors import MissingExtraError

    real = builtins.__import__

    def without(name, *more, **kwargs):
        if name.partition(".")[0] == "matplotlib":
            raise ModuleNotFoundError("No module named 'matplotlib'", name="matplotlib")
        return real(name, *more, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match=re.escape('pip install "holotype[report]"')):
        plots.figures(evaluation())
