"""The table of the tasks of images: complete, and what its rows name exists."""

from __future__ import annotations

import pytest

from holotype.domains import DOMAINS
from holotype.entry_points import resolve
from holotype.vision.data.augmentation.presets import presets_of
from holotype.vision.domain import DOMAIN
from holotype.vision.tasks import TASKS, facts_of
from holotype.vision.training.objectives import ImageObjective


def test_each_task_that_the_domain_serves_has_a_row() -> None:
    served = {task for task, address in DOMAINS.items() if resolve(address) is DOMAIN}
    assert set(TASKS) == served


@pytest.mark.parametrize("task", TASKS)
def test_what_a_row_names_exists(task: str) -> None:
    facts = TASKS[task]
    assert issubclass(resolve(facts.objective), ImageObjective)
    assert callable(resolve(facts.evaluate))
    assert callable(resolve(facts.predict)) if facts.predict else not facts.options
    assert facts.augmentation is None or facts.augmentation in presets_of(facts.augmented)


def test_a_task_without_a_row_is_treated_as_classification() -> None:
    assert facts_of("tone_classification") is TASKS["image_classification"]
