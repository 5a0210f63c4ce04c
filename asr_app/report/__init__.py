"""The Benchmark: models at their precisions on recordings with references, and the report of it.

bench.py runs, results.py turns what was measured into one JSON value, which all else is made from: advice.py the
recommendation, sections.py the tables, plots.py the plots, page.py and markdown.py the two files, compare.py the
difference of two runs. article_tables.py puts the figures beside those of articles.py. Only command.py knows of a command line.
"""
