#!/bin/sh
# Makes transport_pb2.py and transport_pb2_grpc.py anew from transport.proto, with
# the Debian packages protobuf-compiler (3.21) and protobuf-compiler-grpc.
set -eu
cd "$(dirname "$0")"
protoc -I ../transport/transportpb --python_out=. --grpc_python_out=. \
	--plugin=protoc-gen-grpc_python="$(command -v grpc_python_plugin)" transport.proto
