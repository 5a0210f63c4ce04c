"""Makes a variant ahead of time and, given real speech, searches for the recipe whose loss is within a criterion.

calibration.py reads the speech, search.py decides what to try next and knows no model, trials.py tries it, carry.py
writes a folder for another machine, command.py is `python -m asr_app quantize`.
"""
