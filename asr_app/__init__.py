"""Speech recognition with a precision switch, and the proof of what a precision cost."""
