"""Every story in this folder still ends as it is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.scenarios import runner

STORIES = sorted(Path(__file__).parent.glob("*.txt"))


@pytest.mark.parametrize("path", STORIES, ids=lambda path: path.stem)
def test_a_story_ends_as_it_is_written(path: Path, request: pytest.FixtureRequest):
    """What the planner answers to a story's commands is what the file says, to the letter."""
    written, answered = runner.answers(path)
    if request.config.getoption("--update-scenarios"):
        path.write_text(answered, encoding="utf-8")
        return
    assert answered == written, "review the difference, then write it with: pytest tests/scenarios --update-scenarios"


def test_there_are_stories():
    """An empty folder would pass every test above."""
    assert len(STORIES) >= 8
