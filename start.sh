#!/usr/bin/env bash
# ./start.sh [flags of app.py]  sets up .venv and runs the app on 127.0.0.1:6006
# ./start.sh test [flags of pytest]  sets up .venv and runs the tests
set -euo pipefail
cd "$(dirname "$0")"

PYTHON="${PYTHON:-python3}"
if ! "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    echo "Python 3.11 or newer is needed. Install it, or name it: PYTHON=python3.11 ./start.sh" >&2
    exit 2
fi

pip() {
    .venv/bin/python -m pip --disable-pip-version-check "$@"
}

# install FILE FLAG...: its packages into .venv, unless this very file was installed before.
install() {
    local file="$1" stamp=".venv/installed-$(echo "$1" | tr / -)"
    shift
    if ! cmp -s "$file" "$stamp"; then
        echo "Installing $file (once; some minutes) ..." >&2
        pip install --quiet "$@" -r "$file"
        cp "$file" "$stamp"
    fi
}

# torch's build for this machine: with CUDA where there is an NVIDIA GPU. One that is there is left alone.
install_torch() {
    local torch
    torch="$(grep '^torch==' requirements.txt)"
    if [ "$(uname)" != Linux ] || nvidia-smi -L >/dev/null 2>&1; then
        pip install --quiet "$torch"
    elif [ -n "${ASR_TORCH_INDEX:-}" ]; then
        echo "No NVIDIA GPU: torch without CUDA, from ASR_TORCH_INDEX." >&2
        pip install --quiet --no-deps --index-url "$ASR_TORCH_INDEX" "$torch"
    elif pip install --quiet --no-deps "$torch+cpu" 2>/dev/null; then
        echo "No NVIDIA GPU: torch without CUDA." >&2
    else
        echo "No NVIDIA GPU, but pip knows only torch with CUDA: some 3 GB more. To avoid them, stop this (Ctrl-C), and:" >&2
        echo "  ASR_TORCH_INDEX=https://download.pytorch.org/whl/cpu ./start.sh" >&2
        pip install --quiet "$torch"
    fi
}

if [ ! -x .venv/bin/python ]; then
    if ! "$PYTHON" -m venv .venv; then
        rm -rf .venv  # half of one would look like a whole one the next time
        echo "Could not make .venv. On Debian or Ubuntu: apt-get install python3-venv" >&2
        exit 2
    fi
fi
if ! .venv/bin/python -c 'from importlib.metadata import version; version("torch")' 2>/dev/null; then
    echo "Installing torch (once; some minutes) ..." >&2
    install_torch
fi
install requirements.lock --no-deps

if [ "${1:-}" = "test" ]; then
    shift
    install tests/requirements.txt
    # The fast tests run in two processes. The others have a browser that waits: they need the machine for themselves.
    if [ $# = 0 ]; then
        .venv/bin/python -m pytest -n 2 --fast
        set -- --rest
    fi
    case " $* " in *" --fast "*) set -- -n 2 "$@" ;; esac
    exec .venv/bin/python -m pytest "$@"
fi
exec .venv/bin/python app.py "$@"
