#!/bin/sh
# Makes OUT/route: code from the contract, then the program. Needs gRPC for Java as Debian has it
# (default-jdk-headless, libgrpc-java, libprotobuf-java, libgoogle-common-protos-java, libnetty-java,
# libperfmark-java, protobuf-compiler, protobuf-compiler-grpc-java-plugin). Usage: ./build.sh OUT
set -eu
here=$(dirname "$0")
proto=$here/../../../proto
out=${1:?where to}
mkdir -p "$out/src" "$out/classes"
protoc -I "$proto" --java_out="$out/src" --grpc-java_out="$out/src" \
  --plugin=protoc-gen-grpc-java="$(command -v grpc_java_plugin)" "$proto"/tierwise/v1/*.proto
for name in grpc-api grpc-context grpc-core grpc-netty grpc-protobuf grpc-protobuf-lite grpc-stub \
  protobuf proto-google-common-protos guava perfmark-api jsr305 geronimo-annotation-1.3-spec \
  netty-buffer netty-codec netty-codec-http netty-codec-http2 netty-codec-socks netty-common \
  netty-handler netty-handler-proxy netty-resolver netty-transport netty-transport-native-unix-common; do
  jar=/usr/share/java/$name.jar
  if [ -e "$jar" ]; then jars="${jars:-}${jars:+:}$jar"; fi
done
find "$out/src" -name '*.java' >"$out/sources"
javac -nowarn -proc:none -d "$out/classes" -cp "$jars" @"$out/sources" "$here/Route.java"
printf '#!/bin/sh\nexec java -cp "%s:%s" Route "$@"\n' "$(cd "$out" && pwd)/classes" "$jars" >"$out/route"
chmod 755 "$out/route"
