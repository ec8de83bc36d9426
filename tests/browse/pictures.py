"""The pictures in docs/browse.md: `make browse-pictures` draws the story's federation as somebody sees it who browses it.

Each is the same every time it is drawn, on every machine.
"""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path

from tests.browse import story
from tests.browse.driving import Driver, browse
from tests.wire import certs as certificates

SIZE = (96, 28)
#: Name, where it begins, the keys that are pressed, what then stands there, and what the picture is called.
PICTURES = (
    ("map", "sites", ("down", "down"), ("copying", "5 sites"), "fed browse sites"),
    ("search", "", ("slash", "f", "l", "i", "g"), ("2 datasets",), "fed browse, and /"),
    ("job", f"jobs/{story.DONE}", ("right",), ("RESIDENCY_DENIED",), "fed browse jobs/j-01k9..."),
    ("budget", "budgets/ml", (), ("WEEKDAYS",), "fed browse budgets/ml"),
)
#: Fonts are not fetched from elsewhere when somebody looks at a picture.
_FONT_FACES = re.compile(r"\s*@font-face \{.*?\n\s*\}", re.DOTALL)


def draw(folder: Path) -> None:
    """Draws all of them into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch, story.federation(certificates.make(Path(scratch))) as edge:
        for name, start, pressed, seen, title in PICTURES:

            async def work(driver: Driver, pressed: tuple[str, ...] = pressed, seen: tuple[str, ...] = seen) -> str:
                await driver.sees("admin at acme")
                while not driver.browser.screen.pane.filled:
                    await driver.pilot.pause(0.05)
                await driver.press(*pressed)
                await driver.sees(*seen)
                return driver.browser.export_screenshot(title=title)  # noqa: B023 - it is drawn before the next

            svg = _FONT_FACES.sub("", browse(edge, work, start, size=SIZE))
            (folder / f"{name}.svg").write_text(re.sub(r"[ \t]+\n", "\n", svg), encoding="utf-8")


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
