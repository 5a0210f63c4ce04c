"""The Microphone tab: a recorder whose samples reach the server while one speaks, and captions from the same samples."""
