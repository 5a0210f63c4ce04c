"""Stands in for the process of a benchmark: `steps` steps of 0.1 s, goes on where it was, then the end that it is told.

The benchmark's data are a folder with `plan.json`: the steps, and the end ("done", "error" or an exit code).
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

_, asked, name, folder, _ = sys.argv
plan = json.loads((Path(json.loads(asked)["data"]) / "plan.json").read_text(encoding="utf-8"))
done = Path(folder) / "done"
for count in range(len(done.read_text()) if done.exists() else 0, plan["steps"]):
    time.sleep(0.1)
    with done.open("a") as file:
        file.write("x")
    step = {"phase": "texts", "done": count + 1, "total": plan["steps"], "doing": "", "model": name, "arm": "int8"}
    print(json.dumps({"step": step}), flush=True)
if plan["end"] == "error":
    print(json.dumps({"error": ["why", "原因"]}), flush=True)
elif plan["end"] != "done":
    print("it broke", file=sys.stderr)
    sys.exit(plan["end"])
