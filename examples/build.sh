#!/usr/bin/env bash
# Rebuilds the examples' WebAssembly from their C sources. The .wasm files are committed: run this after changing one.
#
# The compiler is zig, which PyPI carries as `ziglang`; this version gives the committed bytes again. It goes into a
# virtual environment of its own, $ZIG_VENV or one in the user's cache directory, never into this repository.
set -euo pipefail
cd "$(dirname "$0")"

version=0.17.1
venv=${ZIG_VENV:-${XDG_CACHE_HOME:-$HOME/.cache}/gristmill/zig-$version}
if [ ! -x "$venv/bin/python" ]; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet "ziglang==$version"
fi

# zig's default stack of 16 MiB would be memory that every run pays for.
for program in wordcount join mandelbrot; do
    "$venv/bin/python" -m ziglang cc -target wasm32-wasi -Os -s -Wall -Wextra -Wl,-z,stack-size=262144 \
        "$program/$program.c" -o "$program/$program.wasm"
    chmod 644 "$program/$program.wasm"
    echo "$program/$program.wasm: $(wc -c < "$program/$program.wasm") bytes"
done
