"""Names of the vision zoo's grammar: each that its parts allow is read, and nothing else is."""

import tomllib
from importlib.resources import files

from hypothesis import given
from hypothesis import strategies as st

from holotype.catalog.grammar import Grammar, families
from holotype.names import is_name

TABLE = families(tomllib.loads((files("holotype.vision.models") / "grammar.toml").read_text("utf-8")))
GRAMMARS = {family: Grammar(family, row) for family, row in TABLE.items()}
LISTED = [name for grammar in GRAMMARS.values() for name in grammar.listed]
VIT = GRAMMARS["rope_vit"]


def spelt(part):
    """A row of a table as text in a name: its numbers are drawn."""
    pieces = part.replace("}", "{").split("{")
    drawn = [
        st.just(piece) if at % 2 == 0 else st.integers(1, 9999).map(str) for at, piece in enumerate(pieces)
    ]
    return st.tuples(*drawn).map("".join)


def test_every_listed_name_is_read_by_one_family_alone():
    for name in LISTED:
        assert is_name(name)
        assert [family for family, grammar in GRAMMARS.items() if grammar.config(name) is not None] != []
    assert len(LISTED) == len(set(LISTED))
    for name in LISTED:
        assert sum(grammar.config(name) is not None for grammar in GRAMMARS.values()) == 1


@given(st.data())
def test_parts_in_their_order_make_a_name(data):
    rows = {word: list(table) for word, table in VIT.tables.items()}
    draw = data.draw

    def one(word):
        return draw(st.sampled_from(rows[word]).flatmap(spelt))

    start = draw(st.sampled_from(["", "a_", "cs_", "i_"]))
    registers = draw(st.sampled_from(["", one("registers") + "_"]))
    parts = draw(st.lists(st.sampled_from(rows["part"]), unique=True, max_size=6))
    spelt_parts = [draw(spelt(part)) for part in parts]
    pool = draw(st.sampled_from(["", "_" + one("pool")]))
    base = f"rope_{start}vit_{registers}{one('size')}{one('patch')}"
    name = "_".join([base, *spelt_parts]) + pool
    sets = [set(VIT.tables["part"][part]) for part in parts]
    clash = any(one & other for at, one in enumerate(sets) for other in sets[:at])
    # `nf` before `swiglu` is read as the one part `nf_swiglu`; so is what else two parts spell together.
    config = VIT.config(name)
    if clash:
        assert config is not None or VIT.explain(name)
    elif config is not None:
        assert VIT.explain(name) is None
        assert VIT.config(base) is not None
        assert set(VIT.config(base)) <= set(config)
    else:
        why = VIT.explain(name)
        assert any(words in why for words in ("contradict", "twice", "do not go together"))


@given(st.text("abcdefghijklmnopqrstuvwxyz0123456789_.-", max_size=60))
def test_any_text_is_read_or_explained(text):
    for grammar in GRAMMARS.values():
        name = grammar.prefix + text
        assert (grammar.config(name) is None) == (grammar.explain(name) is not None) or not grammar.prefix


@given(st.sampled_from(LISTED), st.integers(0, 60), st.sampled_from("abcdefghijklmnopqrstuvwxyz0123456789_"))
def test_a_slip_of_the_pen_is_read_or_explained(name, place, character):
    changed = name[:place] + character + name[place + 1 :]
    for grammar in GRAMMARS.values():
        config = grammar.config(changed)
        assert config is None or isinstance(config, dict)
        grammar.explain(changed)
