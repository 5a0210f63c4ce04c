"""Speed, memory, size and cold start of a model's precisions, and of what people use today, side by side.

Each arm is a process of its own, so that none inherits another's memory or threads; all are loaded first and then run
in turn, round after round, so that a machine that slows down slows all of them. arm.py is such a process, arms.py what
runs in it, run.py who starts them, table.py what is printed.
"""
