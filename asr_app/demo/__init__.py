"""Makes the demo models: a vocabulary, speech by offline synthesisers, training and evaluation.

Nothing of the app imports this package; `python -m asr_app.demo` is its only door.
"""
