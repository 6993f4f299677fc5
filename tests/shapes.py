"""`draw_shapes` of ``examples/draw_shapes.py``, for tests."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))

from draw_shapes import SHAPES, draw_shapes, write_coco

__all__ = ["SHAPES", "draw_shapes", "write_coco"]
