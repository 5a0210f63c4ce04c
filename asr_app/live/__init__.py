"""Recognises speech while it is spoken: streams of samples in, events out. Knows no protocol and no page."""
