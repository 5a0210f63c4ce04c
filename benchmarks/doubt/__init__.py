"""`python -m benchmarks doubt`: finds out which sign of the decoder tells wrong words from right ones, and what a second
pass at FP32 over doubtful chunks buys. signs.py records the signs, labels.py says which words are wrong, figures.py
counts.
"""
