"""Conformance: what every architecture of a zoo must do, as tests that the zoo inherits in two lines.

In a test file of the zoo's own::

    from holotype.testing import conformance

    TestConformance = conformance("src.model")

Each architecture in the registry is then tested for what every network must do, and for each *capability*
that it declares; see ``docs/testing-a-zoo.md``.

pytest is imported by `conformance`, torch when a network is built.
"""

from __future__ import annotations

from holotype.testing.snapshots import write_snapshots
from holotype.testing.subjects import CAPABILITIES, ConformanceError
from holotype.testing.suite import conformance

__all__ = ["CAPABILITIES", "ConformanceError", "conformance", "write_snapshots"]
