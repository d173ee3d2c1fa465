#!/bin/sh
# Makes OUT/route: code from the contract, then the program. Needs Go with gRPC as Debian has them
# (golang-go, golang-google-grpc-dev, protoc-gen-go, protoc-gen-go-grpc); with modules, drop GOPATH and
# GO111MODULE and `go get google.golang.org/grpc`. Usage: ./build.sh OUT
set -eu
here=$(dirname "$0")
proto=$here/../../../proto
out=${1:?where to}
mkdir -p "$out/src/example/route"
for file in "$proto"/tierwise/v1/*.proto; do
  mapped="${mapped:-}${mapped:+,}Mtierwise/v1/$(basename "$file")=example/tierwise"
done
protoc -I "$proto" --go_out="$mapped:$out/src" --go-grpc_out="$mapped:$out/src" \
  "$proto"/tierwise/v1/*.proto
cp "$here/route.go" "$out/src/example/route/"
GO111MODULE=off GOPATH=$(cd "$out" && pwd):/usr/share/gocode go build -o "$out/route" example/route
