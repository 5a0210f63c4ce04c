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

# install FILE: its packages into .venv, unless this very file was installed before.
install() {
    local stamp=".venv/installed-$(echo "$1" | tr / -)"
    if ! cmp -s "$1" "$stamp"; then
        echo "Installing $1 (once; some minutes) ..." >&2
        .venv/bin/python -m pip install --quiet --disable-pip-version-check -r "$1"
        cp "$1" "$stamp"
    fi
}

if [ ! -x .venv/bin/python ]; then
    if ! "$PYTHON" -m venv .venv; then
        rm -rf .venv  # half of one would look like a whole one the next time
        echo "Could not make .venv. On Debian or Ubuntu: apt-get install python3-venv" >&2
        exit 2
    fi
fi
install requirements.txt

if [ "${1:-}" = "test" ]; then
    shift
    install tests/requirements.txt
    exec .venv/bin/python -m pytest "$@"
fi
exec .venv/bin/python app.py "$@"
