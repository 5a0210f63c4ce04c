"""Speed, memory and error of the app's precisions beside other programs on the same weights. No part of the app.

Each arm is a process of its own, so that none inherits another's memory or threads. `speed` starts all of them first and
runs them in turn, round after round, so that a machine that slows down slows all of them. `error` is the app's own
`verify` with the arms of the other programs. peers/ has those programs, *_export.py their formats.
"""
