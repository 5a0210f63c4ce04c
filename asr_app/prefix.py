"""ASGI middleware in front of the door, for a server that a proxy shows under a path of its own."""

from __future__ import annotations

from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send


class Prefix:
    """Takes `root` (`/asr`) off the paths of requests. A proxy may have taken it off already.

    Everything behind it sees paths from `/` on, and `root` as the scope's `root_path`, from which addresses for browsers
    are made.
    """

    def __init__(self, app: ASGIApp, root: str) -> None:
        self._app, self._root = app, root

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._root and scope["type"] != "lifespan":
            path = scope["path"]
            if path == self._root and scope["type"] == "http":  # relative addresses need the slash at the end
                query = scope["query_string"].decode("latin-1")
                await RedirectResponse(f"{self._root}/" + (f"?{query}" if query else ""))(scope, receive, send)
                return
            inside = path.removeprefix(self._root) if path.startswith(f"{self._root}/") else path
            scope = {**scope, "path": inside, "root_path": self._root}
        await self._app(scope, receive, send)
