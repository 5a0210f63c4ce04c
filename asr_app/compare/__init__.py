"""Compares the texts of several models or precisions on one recording, and lets its owner judge where they differ."""
