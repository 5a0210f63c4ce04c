"""Hotwords: rules that correct a text after recognition, and the effect of hotwords that a model takes itself.

lines.py reads the user's lines. rules.py applies them to segments, by the tokens of tokens.py, the sounds of sounds.py
and the common words of lexicon.py; rewriting.py changes text and words. native.py compares a model's text with the one
that it writes without its hotwords. effects.py sums up.
"""
