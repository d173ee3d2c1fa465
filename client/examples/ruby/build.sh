#!/bin/sh
# Makes OUT/route: code from the contract, and a start of the program with it. Needs gRPC for Ruby
# (Debian: ruby-grpc, ruby-grpc-tools, or the gems grpc and grpc-tools). Usage: ./build.sh OUT
set -eu
here=$(cd "$(dirname "$0")" && pwd)
proto=$here/../../../proto
out=${1:?where to}
mkdir -p "$out"
grpc_tools_ruby_protoc -I "$proto" --ruby_out="$out" --grpc_out="$out" "$proto"/tierwise/v1/*.proto
printf '#!/bin/sh\nexec ruby -I "%s" "%s/route.rb" "$@"\n' "$(cd "$out" && pwd)" "$here" >"$out/route"
chmod 755 "$out/route"
