"""The door of `python -m asr_app`."""

from asr_app.cli import main

raise SystemExit(main())
