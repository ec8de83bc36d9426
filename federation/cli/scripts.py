"""`fed completion`: what a shell has to run once, so that it completes commands, options and live names."""

from __future__ import annotations

from dataclasses import dataclass

from federation.cli import completion as machinery
from federation.cli.command import noun, verb
from federation.cli.session import Session

completion = noun("completion", "Lets your shell complete commands, options, and names from the running catalog.")


@dataclass(frozen=True, kw_only=True)
class Script:
    """What a shell has to run."""

    shell: str
    script: str


@verb(
    completion,
    "bash",
    answers=Script,
    example="# for all shells from now on\n"
    "fed completion bash > ~/.local/share/bash-completion/completions/fed\n"
    "# without the package bash-completion: source this in your ~/.bashrc\n"
    "fed completion bash > ~/.config/fed/completion.bash",
)
def bash(session: Session) -> None:
    """Prints the script for Bash.

    The first file below is read by itself where Bash has the package bash-completion. Names come from the catalog of the
    current context, under your own identity, if they come within 300 ms (FED_COMPLETION_MS): else there are none, and nobody
    waits.
    """
    _print(session, "bash")


@verb(completion, "zsh", answers=Script, example="fed completion zsh > ~/.zfunc/_fed")
def zsh(session: Session) -> None:
    """Prints the script for Zsh.

    Write it as `_fed` into a folder of your fpath, which your ~/.zshrc names before compinit runs: `fpath+=~/.zfunc; autoload
    -Uz compinit; compinit`. Names come from the catalog as `fed completion bash --help` says.
    """
    _print(session, "zsh")


@verb(completion, "fish", answers=Script, example="fed completion fish > ~/.config/fish/completions/fed.fish")
def fish(session: Session) -> None:
    """Prints the script for fish, which finds it where the example writes it.

    Names come from the catalog as `fed completion bash --help` says.
    """
    _print(session, "fish")


def _print(session: Session, shell: str) -> None:
    text = machinery.script(shell)
    session.output.item(Script(shell=shell, script=text), lambda: session.output.line(text.rstrip("\n")))
