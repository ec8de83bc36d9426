"""Secrets by the million from one root, any of which can be destroyed for good: a punctured tree.

Each generation has a secret of its own that goes into the wrap of its DEKs. All of them hang from one root of 32 bytes: a
binary tree in which a node's children are HMAC-SHA256 of it, and the way to a leaf is the hash of the generation's name
(Goldreich, Goldwasser and Micali, 1986). So making a generation writes nothing. To destroy one, the nodes on its way give
place to those beside it (a puncturable pseudorandom function: Boneh and Waters, 2013): every other secret is derived as
before, this one by nobody, not even by whoever has the whole tree. A destroyed generation costs at most 96 nodes, about 4 KB,
and names itself: what was punctured can be told from what never was, and is never made anew.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from federation.crypto import canonical

SECRET = 32
#: Bits of a generation's hash that are its way: two generations share one by chance in 1 of 2^96.
DEPTH = 96
_PREFIX = DEPTH // 8
_NODE = 1 + _PREFIX + SECRET

Place = tuple[int, int]


def point(dataset_uid: str, generation: str) -> int:
    """Where a generation hangs in the tree."""
    digest = hashlib.sha256(canonical.join("fed/generation/v1", dataset_uid, generation)).digest()
    return int.from_bytes(digest[:_PREFIX], "big")


@dataclass(frozen=True, kw_only=True)
class Tree:
    """A site's secrets of generations. `nodes` are the tops of what is left, by depth and prefix: no node is above another."""

    nodes: Mapping[Place, bytes] = field(repr=False)

    @classmethod
    def new(cls) -> Tree:
        """A whole tree with a fresh root."""
        return cls(nodes={(0, 0): os.urandom(SECRET)})

    def secret(self, at: int) -> bytes | None:
        """The secret at a point; None where it was destroyed."""
        top = self._top(at)
        if top is None:
            return None
        node = self.nodes[top]
        for depth in range(top[0], DEPTH):
            node = _child(node, _bit(at, depth))
        return node

    def without(self, points: Iterable[int]) -> Tree:
        """The tree that is left when the secrets at those points are gone; itself where they were gone already."""
        nodes = dict(self.nodes)
        for at in points:
            top = Tree(nodes=nodes)._top(at)
            if top is None:
                continue
            node = nodes.pop(top)
            for depth in range(top[0], DEPTH):
                bit = _bit(at, depth)
                beside = (at >> (DEPTH - depth - 1)) ^ 1
                nodes[depth + 1, beside] = _child(node, 1 - bit)
                node = _child(node, bit)
        return Tree(nodes=nodes)

    def dump(self) -> str:
        """The tree as base64 text."""
        rows = (bytes([depth]) + prefix.to_bytes(_PREFIX, "big") + node for (depth, prefix), node in sorted(self.nodes.items()))
        return base64.b64encode(b"".join(rows)).decode()

    @classmethod
    def load(cls, text: str) -> Tree:
        """The tree that `dump` wrote; ValueError for anything else."""
        try:
            data = base64.b64decode(text, validate=True)
        except binascii.Error as error:
            raise ValueError("not a tree") from error
        if len(data) % _NODE:
            raise ValueError("not a tree")
        nodes = {}
        for at in range(0, len(data), _NODE):
            row = data[at : at + _NODE]
            depth, prefix = row[0], int.from_bytes(row[1 : 1 + _PREFIX], "big")
            if depth > DEPTH or prefix >> depth:
                raise ValueError("not a tree")
            nodes[depth, prefix] = row[1 + _PREFIX :]
        return cls(nodes=nodes)

    def _top(self, at: int) -> Place | None:
        places = ((depth, at >> (DEPTH - depth)) for depth in range(DEPTH + 1))
        return next((place for place in places if place in self.nodes), None)


def _bit(at: int, depth: int) -> int:
    return at >> (DEPTH - depth - 1) & 1


def _child(node: bytes, bit: int) -> bytes:
    return hmac.digest(node, b"fed/shred/v1" + bytes([bit]), "sha256")
