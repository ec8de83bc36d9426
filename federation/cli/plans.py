"""How `fed` answers with a plan: in words, as JSON, as a picture, or as what other schedulers take."""

from __future__ import annotations

from pathlib import Path

from federation.cli import formats, output
from federation.cli.output import Output
from federation.core import errors, picture, render
from federation.core.job import Job
from federation.shown import plans

#: The words of `-o` for commands that show a plan.
FORMATS = (*output.FORMATS, *render.RENDERERS)


def answer(out: Output, planned: Job, plot: Path | None = None) -> None:
    """Shows a job's plan in the format that was asked for (JSON: the plan alone), and draws it into a file if one is named."""
    if plot is not None:
        draw(planned, plot)
    if out.format in render.RENDERERS:
        _render(out, planned)
    elif planned.plan is None:
        raise _no_plan(planned)
    else:
        out.item(planned.plan, lambda: show(out, planned))


def draw(planned: Job, path: Path) -> None:
    """Writes the plan as an SVG picture."""
    if planned.plan is None:
        raise _no_plan(planned)
    title = planned.request.label or planned.job
    try:
        path.write_text(picture.svg(planned.plan, title=title), encoding="utf-8")
    except OSError as error:
        raise errors.InvalidArgument(
            f"{path} cannot be written: {error.strerror}", reason="FILE_UNWRITABLE", help="Name a file in a folder of yours."
        ) from None


def _no_plan(planned: Job) -> errors.FailedPrecondition:
    return errors.FailedPrecondition(f"{planned.job} has no plan yet", reason="PLAN_MISSING", help="Try again in a moment.")


def _render(out: Output, planned: Job) -> None:
    made = render.RENDERERS[out.format](planned)
    if out.format == "ray":
        out.line(formats.json_text(made).rstrip())
        return
    import yaml  # noqa: PLC0415 - few ask for it, and it is slow to load

    out.line(yaml.safe_dump(made, sort_keys=False, allow_unicode=True).rstrip())


def show(out: Output, planned: Job) -> None:
    """Prints the whole explanation to stdout."""
    if planned.plan is None:
        out.say("it has no plan yet")
        return
    for part in plans.explained(planned.plan):
        out.line(part) if isinstance(part, str) else out.show(part)
