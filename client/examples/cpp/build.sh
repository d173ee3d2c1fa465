#!/bin/sh
# Makes OUT/route: code from the contract, then the program. Needs gRPC for C++ (Debian: libgrpc++-dev,
# protobuf-compiler, protobuf-compiler-grpc, pkg-config). Usage: ./build.sh OUT
set -eu
here=$(dirname "$0")
proto=$here/../../../proto
out=${1:?where to}
mkdir -p "$out"
protoc -I "$proto" --cpp_out="$out" --grpc_out="$out" \
  --plugin=protoc-gen-grpc="$(command -v grpc_cpp_plugin)" "$proto"/tierwise/v1/*.proto
# Only what routing needs is compiled: the service, and the messages that it imports.
for name in decision error_class error_reason evidence explanation model outcome routing_input \
  routing_service; do
  sources="${sources:-} $out/tierwise/v1/$name.pb.cc"
done
# shellcheck disable=SC2046,SC2086 -- lists of words
${CXX:-c++} -std=c++17 ${CXXFLAGS:--O1} -I "$out" "$here/route.cc" $sources \
  "$out/tierwise/v1/routing_service.grpc.pb.cc" -o "$out/route" $(pkg-config --cflags --libs grpc++ protobuf)
