"""Lines of a transcript that a person has corrected, and what they say about the models.

retime.py gives a corrected line its times. store.py keeps changes in the journal. redo.py has lines recognised again by a
job. references.py finds every model's text of the corrected lines, figures.py counts their errors. export.py writes the
lines as recordings with references; command.py is `python -m asr_app corrections`.
"""
