"""Speakers told apart: embeddings of stretches of speech are clustered, and sentences are given to the clusters.

The text of a transcript is not changed. A sentence of two speakers is cut between its words.
"""
