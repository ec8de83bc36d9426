"""What one `fed` command has at hand: how to speak, and the client of the chosen federation, made when it is first needed."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from federation.cli.output import Output

if TYPE_CHECKING:
    from federation.client import Client


class Session:
    """One command's surroundings. `context` is what `--context` said, empty for the current one."""

    def __init__(self) -> None:
        self.output = Output()
        self.context = ""

    @functools.cached_property
    def client(self) -> Client:
        """The client of the chosen federation; NotFound (CONTEXT_MISSING) with what to do when none is chosen."""
        from federation.client import connect  # noqa: PLC0415 - gRPC takes a third of a second to import; `fed --help` needs none

        return connect.connect(self.context)

    def close(self) -> None:
        """Ends the client's connections, if there are any."""
        if "client" in self.__dict__:
            self.client.close()
