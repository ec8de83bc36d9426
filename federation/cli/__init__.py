"""The command `fed`: one file for each noun. `app` holds what all commands share, `output` how they speak."""

from __future__ import annotations


def main() -> None:
    """Runs `fed` with the process's arguments and exits."""
    from federation.cli import app  # noqa: PLC0415 - `import federation.cli` by a tool should cost nothing

    app.fed()
