"""Whatever the sets, blocks and limits: the pairs that the rules name, each once, and their best."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holotype.proteins.prediction import output
from holotype.proteins.prediction.interactome import (
    Grid,
    Ranking,
    Scores,
    _keys,
    _unpacked,
    least_logit,
    probabilities,
)

FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)


class Known:
    """Proteins whose logits are given; a stand-in for a model."""

    def __init__(self, matrix):
        self.matrix = matrix

    def block(self, rows, columns):
        return self.matrix[np.ix_(list(rows), list(columns))].copy()


@st.composite
def grids(draw):
    count = draw(st.integers(1, 9))
    symmetric = draw(st.booleans())
    indices = st.lists(st.integers(0, count - 1), unique=True, max_size=count).map(sorted)
    rows = draw(indices)
    columns = rows if draw(st.booleans()) else draw(indices)
    # Few values, so that there are ties.
    values = draw(
        st.lists(st.sampled_from([-2.0, -0.0, 0.0, 0.5, 3.0]), min_size=count**2, max_size=count**2)
    )
    matrix = np.array(values, np.float32).reshape(count, count)
    if symmetric:
        matrix = np.maximum(matrix, matrix.T)
    made = Grid(
        np.array(rows, np.int64),
        np.array(columns, np.int64),
        symmetric,
        top_k=draw(st.none() | st.integers(1, 5)),
        least_logit=draw(st.none() | st.sampled_from([-3.0, 0.0, 0.5, 9.0])),
        include_self=draw(st.booleans()),
        high=draw(st.integers(1, 4)),
    )
    return made, matrix


def answer(grid, matrix):
    proteins = Known(matrix)
    found = [grid.answer(proteins, block) for block in range(len(grid.sizes))]
    if grid.top_k is None:
        parts = found or [Scores(*(np.zeros(0, np.int32),) * 2, np.zeros(0, np.float32))]
        return [tuple(row) for part in parts for row in zip(*(side.tolist() for side in part), strict=True)]
    ranking = Ranking(grid)
    for one in reversed(found):
        ranking.add(one)
    return [tuple(row) for row in zip(*(side.tolist() for side in ranking.scores()), strict=True)]


def expected(grid, matrix):
    rows, columns = grid.rows.tolist(), grid.columns.tolist()
    pairs = [(a, b) for a in rows for b in columns if grid.include_self or a != b]
    if grid.top_k is not None:
        best = []
        for a in rows:
            mine = sorted((pair for pair in pairs if pair[0] == a), key=lambda p: (-matrix[p] + 0.0, p[1]))
            best += mine[: grid.top_k]
        pairs = best
    elif grid.symmetric:
        pairs = [(a, b) for a, b in pairs if a <= b or (b, a) not in set(pairs)]
    least = -np.inf if grid.least_logit is None else grid.least_logit
    return [(a, b, float(matrix[a, b])) for a, b in pairs if matrix[a, b] >= least]


@given(grids())
@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])  # on a busy machine
def test_a_grid_holds_what_the_rules_name(case):
    grid, matrix = case
    assert answer(grid, matrix) == expected(grid, matrix)
    if grid.top_k is None and grid.least_logit is None:
        assert sum(grid.sizes) == len(expected(grid, matrix))


@given(st.lists(FLOATS, min_size=1, max_size=30))
def test_keys_are_ordered_like_logits_and_give_them_back(values):
    logits = np.array([values], np.float32)
    partners = np.arange(len(values))
    keys = _keys(logits, partners)
    assert len(set(keys[0].tolist())) == len(values)
    back, same = _unpacked(keys)
    assert back[0].tolist() == partners.tolist()
    assert same[0].tolist() == (logits[0] + np.float32(0)).tolist()
    order = sorted(partners.tolist(), key=lambda at: (-float(logits[0, at]) + 0.0, at))
    assert np.argsort(-keys[0]).tolist() == order


@given(st.lists(FLOATS, max_size=20), st.floats(0.01, 100))
def test_probabilities_are_monotonic_and_in_range(values, temperature):
    logits = np.sort(np.array(values, np.float32))
    found = probabilities(logits, temperature)
    assert ((found >= 0) & (found <= 1)).all()
    assert (np.diff(found) >= 0).all()


@given(st.floats(0, 1), st.floats(0.05, 20), st.lists(st.floats(-30, 30, width=32), min_size=1, max_size=20))
def test_a_threshold_keeps_the_probabilities_from_it_on(threshold, temperature, values):
    logits = np.array(values, np.float32)
    exact = 1 / (1 + np.exp(-logits.astype(np.float64) / temperature))
    kept = logits >= least_logit(threshold, temperature)
    clear = np.abs(exact - threshold) > 1e-9
    assert (kept == (exact >= threshold))[clear].all()


@given(
    st.lists(
        st.text(st.characters(blacklist_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1),
        min_size=1,
        unique=True,
    ),
    st.data(),
)
def test_a_table_gives_names_and_numbers_back(tmp_path_factory, names, data):
    count = data.draw(st.integers(0, 12))
    index = st.lists(st.integers(0, len(names) - 1), min_size=count, max_size=count)
    a, b = (np.array(data.draw(index), np.int32) for _ in range(2))
    logits = np.array(
        data.draw(st.lists(st.floats(-50, 50, width=32), min_size=count, max_size=count)), np.float32
    )
    path = tmp_path_factory.mktemp("table") / "x"
    parts = [Scores(a[:5], b[:5], logits[:5]), Scores(a[5:], b[5:], logits[5:])]
    assert output.write_table(path, ".tsv", names, parts, 1.5) == count
    lines = path.read_bytes().decode().split("\n")
    assert lines[0] == "protein_a\tprotein_b\tscore\tlogit" and lines[-1] == ""
    rows = [line.split("\t") for line in lines[1:-1]]
    assert [row[:2] for row in rows] == [[names[x], names[y]] for x, y in zip(a, b, strict=True)]
    assert [float(row[3]) for row in rows] == pytest.approx(logits.tolist(), rel=1e-5)
    assert [float(row[2]) for row in rows] == pytest.approx(probabilities(logits, 1.5).tolist(), rel=1e-5)
