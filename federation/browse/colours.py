"""The few colours that mean something. Nothing is told by colour alone; all are light, to be read as greys under NO_COLOR."""

from __future__ import annotations

GOOD = "#87d75f"
UNDER_WAY = "#5fd7ff"
WAITS = "#ffd75f"
BAD = "#ff8787"
