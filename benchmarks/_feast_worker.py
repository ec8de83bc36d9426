"""Runs in Feast's own environment: a client of its registry server, driven by lines of JSON. See `benchmarks.feast_peer`."""

import json
import sys
import threading

import grpc
from feast import FileSource
from feast.protos.feast.registry import RegistryServer_pb2 as messages
from feast.protos.feast.registry import RegistryServer_pb2_grpc as services

sys.path.append(sys.argv[1])
import _closed_loop

PROJECT = "bench"


def main(target):
    local = threading.local()

    def stub():
        if not hasattr(local, "stub"):
            local.stub = services.RegistryServerStub(grpc.insecure_channel(target))
        return local.stub

    def create(number, start=0):
        source = FileSource(name=f"d{start + number}", path="s3://bucket/data.parquet", description="flights of one year")
        stub().ApplyDataSource(
            messages.ApplyDataSourceRequest(data_source=source.to_proto(), project=PROJECT, commit=True), timeout=60
        )

    def get(number, of):
        stub().GetDataSource(messages.GetDataSourceRequest(name=f"d{number % of}", project=PROJECT), timeout=60)

    def page(number):
        del number
        asked = messages.ListDataSourcesRequest(project=PROJECT)
        if "pagination" in asked.DESCRIPTOR.fields_by_name:
            asked.pagination.page = 1
            asked.pagination.limit = 50
        stub().ListDataSources(asked, timeout=60)

    acts = {"create": create, "get": get, "page": page}
    print("ready", flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        act, extra = acts[asked["act"]], asked.get("extra", {})
        made = _closed_loop.run(lambda number, act=act, extra=extra: act(number, **extra), asked["count"], asked["clients"])
        print(json.dumps(made), flush=True)


if __name__ == "__main__":
    main(sys.argv[2])
