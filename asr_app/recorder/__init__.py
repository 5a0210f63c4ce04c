"""Microphone recordings on their way in: pieces in the order of their numbers, and captions while one speaks.

Knows no page and no HTTP. A recording that is complete becomes an ordinary job.
"""
