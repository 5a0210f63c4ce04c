"""One file per model family: its cards, and how to load one of them."""
