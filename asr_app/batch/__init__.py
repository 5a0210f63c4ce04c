"""`batch`: folders of recordings into a folder of texts, resumable at every file.

sources.py finds the recordings, store.py owns the output folder and its done-marks, recognisers.py turns recordings into
transcripts, forecast.py predicts the time left, run.py joins them, command.py reads the flags.
"""
