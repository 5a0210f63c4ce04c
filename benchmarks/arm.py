"""A peer in a process of its own: see `asr_app.evaluate.arm`."""

from __future__ import annotations

import sys

from asr_app.evaluate.arm import serve
from benchmarks.peers import PEERS

if __name__ == "__main__":
    _, name, task = sys.argv
    serve(PEERS[name].make, (PEERS[name].library,), task)
