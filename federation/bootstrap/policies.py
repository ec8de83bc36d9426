"""The wiring of policies: what compiles them, for a server and for those who try a file without one."""

from __future__ import annotations

from federation import ports
from federation.adapters.policy_cedar import CedarPolicies


def compiler() -> ports.PolicyCompiler:
    """What makes sets of policies from their text, with the shipped schema."""
    return CedarPolicies()
