"""Evaluates models and their peers on recordings with references: text, error, loss of the reference, speed, memory.

The only loop of its kind. arms.py defines the systems, run.py is the loop over (arm, clip), store.py keeps each
finished clip so that an interrupted run goes on, figures.py counts, table.py prints.
"""
