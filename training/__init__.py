"""Makes the demo models: a vocabulary, speech by offline synthesisers, training.

The app does not import this package. Its only entry point is `python -m training`.
"""
