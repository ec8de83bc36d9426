"""Pipelines in the simulation: built from a few words, submitted, driven to their end."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from federation.core import ids, job
from federation.core.pipeline import Pipeline, PipelineRequest, TaskRun, TaskSpec
from federation.services import datasets, pipelines, sites
from tests import builders
from tests.sim import Simulation


class PipelineSimulation(Simulation):
    """The federation, with people who submit pipelines."""

    def sweep(self) -> int:
        """What the server does each second; pipelines take their steps with it."""
        return super().sweep() + self.step()

    def step(self) -> int:
        """One step of every live pipeline."""
        return self.write(lambda tx: pipelines.advance(tx, self.ctx, self.catalog.revision()), actor="server")

    def send(self, *tasks: TaskSpec, **changes: Any) -> Pipeline:
        """A person submits a pipeline of these tasks."""
        return self.send_request(PipelineRequest(**{"label": "p", "tasks": tasks} | changes))

    def send_request(self, request: PipelineRequest) -> Pipeline:
        """A person submits a pipeline."""
        who = builders.person()
        return self.write(lambda tx: pipelines.submit(tx, self.ctx, who, request), actor=who.name)

    def pipeline(self, of: Pipeline) -> Pipeline:
        """It as it is now."""
        return self.read(lambda tx: pipelines.get(tx, of.pipeline))

    def task(self, of: Pipeline, name: str) -> TaskRun:
        """One of its tasks as it is now."""
        return next(each for each in self.pipeline(of).tasks if each.task == name)

    def job_of(self, of: Pipeline, name: str) -> job.Job:
        """The job of one of its tasks."""
        return self.job(self.task(of, name).job)

    def reprice(self, name: str, cpu_hour: str) -> None:
        """A site's CPUs get another price."""
        place = builders.site(name, offer=builders.offer(cpu_hour))
        self.write(lambda tx: sites.update_site(tx, place, frozenset({"offer"})))

    def until_ended(self, of: Pipeline, rounds: int = 60) -> Pipeline:
        """It once it has ended: agents that live work, and time passes."""
        for _ in range(rounds):
            if self.pipeline(of).state.terminal:
                break
            self.drive()
        return self.pipeline(of)

    def fail(self, of: Pipeline, name: str, rounds: int = 10) -> None:
        """The run of a task fails for good, once it runs."""
        for _ in range(rounds):
            run = self.job_of(of, name).run
            holder = next((agent for agent in self.agents.values() if run in agent.runs), None)
            if holder is not None and holder.runs[run].accepted:
                holder.fail(run)
                self.step()
                return
            for agent in self.agents.values():
                if agent.alive:
                    agent.beat()
                    agent.work()
                    for held in list(agent.runs):
                        agent.accept(held)
        raise AssertionError(f"{name} never ran")

    def partition(self, name: str, parts: Iterable[str]) -> None:
        """A person makes a partitioned dataset."""
        parsed = ids.dataset(name)
        made = builders.dataset(parsed.short, parts=tuple(parts))
        self.write(lambda tx: datasets.create_dataset(tx, self.ctx, made), actor="users/alice")


def task(name: str, inputs: Iterable[str] = (), outputs: Iterable[str] = (), **changes: Any) -> TaskSpec:
    """A task; the input `data=clean.out` is the output `out` of the task `clean`. `after` and `optional` are the task's."""
    own = {key: changes.pop(key) for key in ("after", "optional") if key in changes}
    texts = list(inputs)
    sizes = changes.pop("assume", None)
    request = builders.request(
        [text for text in texts if "/" in text], outputs, **{"label": "", "namespace": "", "principal": ""} | changes
    )
    fed = tuple(_fed(text) for text in texts if "/" not in text)
    made = tuple(
        job.OutputSpec(alias=row.alias, dataset=row.dataset, assumed_bytes=builders.size(sizes) if sizes else 0)
        for row in request.outputs
    )
    replaced = job.JobRequest(**{**request.__dict__, "inputs": (*request.inputs, *fed), "outputs": made})
    return TaskSpec(task=name, request=replaced, **own)


def _fed(text: str) -> job.InputSpec:
    alias, _, source = text.partition("=")
    before, _, output = source.partition(".")
    return job.InputSpec(alias=alias, dataset="", task=before, output=output)
