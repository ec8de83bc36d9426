#!/usr/bin/env bash
# Regenerates federation/v1 from protos/. Uses an old generator in an environment of its own on purpose: code from newer ones forces
# the newest protobuf and grpcio on every user, code from 1.62 runs on all since 4.25.
set -euo pipefail
cd "$(dirname "$0")/.."
tools=${PROTO_TOOLS:-.proto-tools}
if [ ! -x "$tools/bin/python" ]; then
  python3 -m venv "$tools"
  "$tools/bin/pip" install --quiet 'grpcio-tools==1.62.3' 'mypy-protobuf==3.6.0' 'setuptools<80'
fi
PATH="$PWD/$tools/bin:$PATH" "$tools/bin/python" -m grpc_tools.protoc -I protos \
  --python_out=. --grpc_python_out=. --mypy_out=quiet:. --mypy_grpc_out=quiet:. protos/federation/v1/*.proto
