"""`fed policy` and refusals by policy, over a real server."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from federation.cli import app, exits
from federation.client import connect
from federation.core import dataset, errors
from federation.core.dataset import Classification
from tests import builders
from tests.cli import answering
from tests.wire.edge import Edge

CASES = str(Path(__file__).resolve().parents[2] / "examples/policies/default.yaml")


@pytest.fixture
def fed(edge: Edge, monkeypatch):
    """The CLI as an administrator."""
    monkeypatch.setattr(connect, "connect", lambda _context: edge.client("admin"))

    def run(*words: str, code: int = exits.OK) -> str:
        result = CliRunner().invoke(app.fed, list(words))
        assert result.exit_code == code, result.output
        answering.check(words, result.stdout)
        return result.output

    return run


def test_a_hidden_dataset_is_not_listed_and_a_refusal_is_in_the_log(edge: Edge) -> None:
    """Pages stay full of what is seen; who may look but not write hears why, and the log has it."""
    user, admin = edge.client("user"), edge.client("admin")
    admin.create_namespace(dataset.Namespace(name="hr"))
    for number in range(5):
        readers = ("groups/everyone",) if number == 3 else ()
        admin.create_dataset(dataset.Dataset(namespace="hr", dataset=f"d{number}", readers=readers))
    assert [row.dataset for row in user.list_datasets("hr")] == ["d3"]
    assert len(list(admin.list_datasets("hr"))) == 5
    with pytest.raises(errors.NotFound) as hidden:
        user.get_dataset("hr/d1")
    with pytest.raises(errors.NotFound) as absent:
        user.get_dataset("hr/d9")
    assert hidden.value.message.replace("d1", "d9") == absent.value.message
    with pytest.raises(errors.PermissionDenied) as caught:
        user.open_write("hr/d3", "eu-1")
    assert (caught.value.reason, caught.value.metadata["nearest"]) == ("POLICY_DENIED", "use.owner")
    log = edge.catalog.events(0, kinds=("policy.decided",))
    assert '"allowed":false' in log[-1].body
    assert log[-1].actor == "users/user"


def test_governance_is_set_shown_and_declassified(edge: Edge) -> None:
    """The fields by their mask; what was never inherited, its owner simply changes."""
    admin = edge.client("admin")
    admin.create_namespace(dataset.Namespace(name="hr"))
    made = admin.create_dataset(dataset.Dataset(namespace="hr", dataset="pay", classification=Classification.RESTRICTED))
    assert made.classification is Classification.RESTRICTED
    changed = dataset.Dataset(
        namespace="hr", dataset="pay", purposes=("payroll",), readers=("groups/payroll",), legal_hold=True
    )
    stored = admin.update_dataset(changed, ("purposes", "readers", "legal_hold"))
    assert (stored.purposes, stored.readers, stored.legal_hold) == (("payroll",), ("groups/payroll",), True)
    with pytest.raises(errors.InvalidArgument):
        admin.update_dataset(dataset.Dataset(namespace="hr", dataset="pay", readers=("bob",)), ("readers",))
    with pytest.raises(errors.PermissionDenied) as caught:
        admin.delete_dataset("hr/pay")
    assert caught.value.metadata["policy"] == "hold"
    lower = dataset.Dataset(namespace="hr", dataset="pay", classification=Classification.INTERNAL)
    assert admin.declassify_dataset(lower, ("classification",), "reviewed").classification is Classification.INTERNAL


def test_fed_policy_from_show_to_apply(fed, tmp_path: Path) -> None:
    """What holds is shown, another is tried, compared and applied, and then holds."""
    fed("namespace", "create", "hr")
    fed("dataset", "create", "hr/pay", "--classification", "CONFIDENTIAL", "--reader", "groups/everyone")
    file = tmp_path / "new.cedar"
    stricter = (
        '@id("closed") @because("it is closed") @control("x") forbid(principal, action == Fed::Action::"browse", resource);'
    )
    file.write_text(builders.POLICIES.default() + stricter)
    assert "revision 0" in fed("policy", "show")
    fed("policy", "lint", str(file))
    assert "nor knows" not in fed("policy", "test", str(file), "--tests", CASES, code=exits.ERROR)
    assert "closed" in fed("policy", "diff", str(file))
    fed("policy", "replay", str(file))
    fed("policy", "apply", str(file), "--tests", CASES, code=exits.ERROR)
    file.write_text(builders.POLICIES.default().replace("readers that the owner", "those whom the owner"))
    assert "0 of" in fed("policy", "diff", str(file))
    fed("policy", "apply", str(file), "--tests", CASES, "--note", "words")
    assert "words" in fed("policy", "show", "-o", "json")
    broken = tmp_path / "broken.cedar"
    broken.write_text("permit(principal, action, resource);")
    assert "@because" in fed("policy", "lint", str(broken), code=exits.ERROR)
