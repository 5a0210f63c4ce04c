"""Benchmarks of the page: durable runs of `asr_app.report.bench` on recordings that a browser gave or chose.

archive.py unpacks a zip, incoming.py makes a dataset of what was given, benchmarks.py keeps the runs as files under
ASR_HOME, runner.py runs one at a time while no transcription waits, child.py is the process that it runs in.
"""
