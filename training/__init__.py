"""Makes the demo models: a vocabulary, speech by offline synthesisers, training.

Nothing of the app imports this package; `python -m training` is its only door.
"""
