#!/usr/bin/env bash
# ./start.sh [flags of app.py]  sets up .venv and runs the app on 127.0.0.1:6006
# ./start.sh test [flags of pytest]  sets up .venv and runs the tests
# ./start.sh --install-service [flags of app.py]  starts the app at boot, by systemd; --remove-service ends that
set -euo pipefail
cd "$(dirname "$0")"

unit="${XDG_CONFIG_HOME:-$HOME/.config}/systemd/user/asr.service"

# quoted TEXT: as systemd reads a word of a command.
quoted() {
    local text="${1//\\/\\\\}"
    text="${text//\"/\\\"}"
    text="${text//\$/\$\$}"
    printf '"%s" ' "${text//%/%%}"
}

if [ "${1:-}" = "--remove-service" ]; then
    if command -v systemctl >/dev/null; then
        systemctl --user disable --now asr.service 2>/dev/null || true
    fi
    rm -f "$unit"
    echo "Removed $unit. Recordings and models stay."
    exit 0
fi
if [ "${1:-}" = "--install-service" ]; then
    shift
    mkdir -p "$(dirname "$unit")"
    command="$(for word in "$PWD/start.sh" "$@"; do quoted "$word"; done)"
    while IFS= read -r line; do
        line="${line//@FOLDER@/"${PWD//%/%%}"}"
        printf '%s\n' "${line//@COMMAND@/"${command% }"}"
    done <deploy/asr.service >"$unit"
    cat <<END
Wrote $unit. Keys go into ${XDG_CONFIG_HOME:-$HOME/.config}/asr.env (chmod 600). Now:
  systemctl --user daemon-reload
  systemctl --user enable --now asr    # the first start installs packages, which takes minutes
  loginctl enable-linger               # it starts at boot, not only when you log in
  journalctl --user -u asr -f          # its log, with the address to open
./start.sh --remove-service takes it away.
END
    exit 0
fi

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
