"""Conformance: what every architecture of a zoo must do, as tests that the zoo inherits in two lines.

In a test file of the zoo's own::

    from holotype.testing import conformance

    TestConformance = conformance("src.model")

Each architecture in the registry is then a test of its own, for everything that all networks owe their
users, and for each *capability* that it declares. ``docs/testing-a-zoo.md`` tells the whole of it.

pytest is imported by `conformance`, torch when a network is built.
"""

from __future__ import annotations

from holotype.testing.snapshots import write_snapshots
from holotype.testing.subjects import CAPABILITIES, ConformanceError
from holotype.testing.suite import conformance

__all__ = ["CAPABILITIES", "ConformanceError", "conformance", "write_snapshots"]
