"""Entry: flags -> server, nothing else."""

import sys

from asr_app import config
from asr_app.errors import UserError
from asr_app.terminal import end_process

if __name__ == "__main__":
    try:
        settings = config.parse(sys.argv[1:])
        from asr_app import server  # takes seconds to import: a mistyped flag must not wait for it

        server.run(settings)
    except UserError as error:
        print(f"error: {error.en}\n{error.zh}", file=sys.stderr)
        raise SystemExit(2) from None
    end_process()
