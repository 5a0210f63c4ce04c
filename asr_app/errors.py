"""The error that is shown to users, and the exception that stops cancelled work. Imports nothing of the app."""

from __future__ import annotations


class UserError(Exception):
    """A message for the user, in both languages of the page: the fault and the remedy. It is shown unchanged.

    It becomes an error message in the page, and exit code 2 on the command line. Anything else that is raised is a
    defect of ours and goes to the log with its traceback.
    """

    def __init__(self, en: str, zh: str) -> None:
        super().__init__(en)
        self.en = en
        self.zh = zh

    def text(self, language: str) -> str:
        """The message in `language` ("zh", or anything else for English)."""
        return self.zh if language == "zh" else self.en


class TooLarge(UserError):
    """The recording is larger than the server takes."""


class QueueFull(UserError):
    """The client has as many jobs in the queue as one may have."""


class NoRoom(UserError):
    """The disk, or the room for recordings on it, is full."""


class Cancelled(BaseException):
    """Raised by a progress callback to stop the work. Not an Exception, since the hubs' clients would retry."""
