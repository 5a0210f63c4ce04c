"""Speech recognition with a precision switch, and measurements of each precision's cost."""
