"""Build hook: the wheel carries the facts of the first-party zoos (see `holotype.catalog.zoo_files`)."""

import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class FactsHook(BuildHookInterface):
    """Writes `_facts.json` for each zoo into the wheel, not into the source tree."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the files to a wheel; an editable install reads the sources."""
        if version == "editable":
            return
        source = Path(self.root, "src")
        sys.path.insert(0, str(source))
        from holotype.catalog.zoo_files import PREBUILT, facts_of_folder
        from holotype.first_party import FIRST_PARTY

        self.folder = tempfile.TemporaryDirectory()
        for zoo in FIRST_PARTY:
            facts = Path(self.folder.name, f"{zoo}.json")
            facts.write_text(facts_of_folder(source / "holotype" / zoo / "models"), encoding="utf-8")
            build_data["force_include"][str(facts)] = f"holotype/{zoo}/models/{PREBUILT}"
