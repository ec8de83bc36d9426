import json
import pytest
from tests.wire.test_declare import fed
from tests.wire import edge as edges

def test_x(fed, shared_edge):
    edges.make_placeable(shared_edge)
    for n in ("sales/flights","sales/flights@1","sales","eu-1","aws:eu-central-1~aws:us-east-1","policy -"):
        print(fed("describe",*n.split()).stdout)
        print(fed("describe",*n.split(), who="user").stdout[-300:])
        d=fed("describe",*n.split(),"-o","json").stdout
    assert 0
