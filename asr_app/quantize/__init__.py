"""Makes a variant ahead of time and, given real speech, searches for a recipe whose loss is within a criterion.

calibration.py reads the speech. search.py chooses the next candidate and knows no model. trials.py measures it.
carry.py writes a folder for another machine. command.py is `python -m asr_app quantize`.
"""
