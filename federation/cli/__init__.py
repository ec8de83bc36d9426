"""The command `fed`: one file for each noun. `app` holds what all commands share, `output` how they speak."""

from __future__ import annotations

import sys
from gc import set_threshold  # `gc` is a command here

from federation.environment import environment, quiet_grpc


def main() -> None:
    """Runs `fed` with the process's arguments and exits, or answers a shell that completes a line."""
    # What a process loads stays: at the usual thresholds a sixth of its start goes to the collector, which finds nothing.
    set_threshold(5_000, 20, 20)
    quiet_grpc()
    if "_FED_COMPLETE" in environment():
        from federation.cli import asker  # noqa: PLC0415 - for shells alone

        asker.start()  # names take longest to come
        from federation.cli import completion  # noqa: PLC0415

        sys.exit(completion.main())
    try:
        from federation.cli import app  # noqa: PLC0415 - `import federation.cli` by a tool should cost nothing
    except KeyboardInterrupt:  # loading takes a moment, and is nobody's fault
        from federation.cli import exits  # noqa: PLC0415

        sys.exit(exits.INTERRUPTED)
    app.fed()
