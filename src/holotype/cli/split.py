"""``holotype split``, by the domain that serves it."""

from __future__ import annotations

import argparse

from holotype.cli import by_domain

run = by_domain.run


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this verb."""
    by_domain.add_options(parser, "split")
