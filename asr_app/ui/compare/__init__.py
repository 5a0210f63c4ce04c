"""The Compare tab: one recording, two to four arms, a blind round, and what differs."""
