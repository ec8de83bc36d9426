"""A federation's world over the wire, and its variances."""

from __future__ import annotations

import pytest

from federation.core import errors, job, planner, whatif


def test_the_world_comes_in_pieces_and_plans_like_the_server(edge):
    """Read back from the stream, it gives the plan that the server gives."""
    pieces = list(edge.client().export_world())
    assert 0 < max(map(len, pieces)) <= 512 * 1024
    file = whatif.parse_world(b"".join(pieces))
    request = job.JobRequest(namespace="sales", entrypoint=("true",), label="demo")
    offline = planner.plan(*whatif.world_of(file, whatif.RequestFile(format_version=1, request=request)))
    online = edge.client().plan(request).plan
    assert online is not None
    assert offline.rejections == online.rejections
    assert [row.site for row in offline.ranked] == [row.site for row in online.ranked]


def test_only_an_administrator_exports_the_world(edge):
    """It tells of every dataset and every price."""
    with pytest.raises(errors.PermissionDenied):
        list(edge.client("user").export_world())


def test_a_dataset_that_is_not_there_ends_the_stream_with_its_name(edge):
    """An error of our family, also from a stream."""
    with pytest.raises(errors.NotFound, match="sales/nothing"):
        list(edge.client().export_world(["sales/nothing"]))


def test_variances_answer_when_nothing_has_run(edge):
    """An empty sum, and a refusal of what is unknown."""
    rows, total = edge.client("user").summarize_variances("label")
    assert (rows, total.runs) == ((), 0)
    with pytest.raises(errors.InvalidArgument):
        edge.client().summarize_variances("moon phase")
    with pytest.raises(errors.InvalidArgument, match="there is no field"):
        edge.client().summarize_variances("label", filter='moon = "full"')
