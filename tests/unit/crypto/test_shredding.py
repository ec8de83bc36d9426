"""Secrets of generations: derived from one root, destroyed one by one, for good."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federation.crypto import shredding

names = st.integers(0, 40).map(lambda number: shredding.point("d-1", f"g-{number}"))


class TestTree:
    """The punctured tree."""

    @settings(max_examples=25, deadline=None)
    @given(st.sets(names, max_size=6), st.sets(names, min_size=1, max_size=12))
    @pytest.mark.invariant("K4")
    def test_what_is_destroyed_is_gone_and_nothing_else(self, gone, asked):
        """Whatever was destroyed, in whatever order: its secrets are none, all others are what they were."""
        whole = shredding.Tree.new()
        left = whole.without(gone)
        one_by_one = whole
        for at in sorted(gone, reverse=True):
            one_by_one = one_by_one.without([at])
        assert left == one_by_one == left.without(gone) == shredding.Tree.load(left.dump())
        for at in asked:
            assert left.secret(at) == (None if at in gone else whole.secret(at))

    @pytest.mark.invariant("K4")
    def test_nothing_that_is_left_leads_to_what_is_gone(self):
        """No node that is kept is above the destroyed leaf, nor is it the leaf or any node on its way."""
        whole, at = shredding.Tree.new(), shredding.point("d-1", "g-1")
        left = whole.without([at])
        way = {(depth, at >> (shredding.DEPTH - depth)) for depth in range(shredding.DEPTH + 1)}
        assert not way & set(left.nodes)
        assert whole.secret(at) not in left.nodes.values()
        assert len(left.nodes) == shredding.DEPTH

    def test_secrets_differ(self):
        """By generation, by dataset, and by tree."""
        one, two = shredding.Tree.new(), shredding.Tree.new()
        points = [shredding.point(uid, generation) for uid in ("d-1", "d-2") for generation in ("g-1", "g-2")]
        assert len({tree.secret(at) for tree in (one, two) for at in points}) == 8

    def test_the_tree_does_not_drift(self):
        """A known secret: if it changed, nothing would open any more."""
        tree = shredding.Tree(nodes={(0, 0): bytes(32)})
        assert tree.secret(shredding.point("d-1", "g-1")).hex() == KNOWN

    @pytest.mark.parametrize("text", ["?", "AAAA", "/////w==" * 9, "YQ=="])
    def test_what_is_no_tree_is_refused(self, text):
        """ValueError, never a tree of something else."""
        with pytest.raises(ValueError, match="tree"):
            shredding.Tree.load(text)

    def test_nothing_secret_is_shown(self):
        """Not by repr."""
        tree = shredding.Tree.new()
        assert repr(tree.nodes[0, 0]) not in repr(tree)


#: Worked out apart from this code, bit by bit of the hash, with hmac and hashlib alone.
KNOWN = "746b42402e8c71328ac7df97c1fdd4cbc68a2867b7da54e02c1d94e68bcb1618"
