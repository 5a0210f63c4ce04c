"""Errors of the API in the form of OpenAI, which the door answers with as well."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.responses import JSONResponse

_TYPES = {
    400: "invalid_request_error", 401: "authentication_error", 404: "invalid_request_error", 409: "invalid_request_error",
    413: "invalid_request_error", 415: "invalid_request_error", 422: "invalid_request_error",
    429: "rate_limit_error", 503: "server_error", 507: "server_error",
}  # fmt: skip


class ApiError(Exception):
    """Answers a request with `status`. `param` names the field that is wrong, `code` the reason for programs."""

    def __init__(
        self, status: int, message: str, param: str | None = None, code: str | None = None, retry_s: int = 0
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code, self._retry_s = status, message, param, code, retry_s

    @property
    def headers(self) -> dict[str, str]:
        """Headers of the response. Clients try again after `retry_s`, if it is set."""
        return {"Retry-After": str(self._retry_s)} if self._retry_s else {}

    def response(self) -> JSONResponse:
        """The error as OpenAI's clients read it."""
        return error_response(self.status, self.message, self.param, self.code, self.headers)


def error_response(
    status: int, message: str, param: str | None = None, code: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:  # fmt: skip
    """A response of `status` with OpenAI's error object."""
    return JSONResponse({"error": error_object(status, message, param, code)}, status, dict(headers or {}))


def error_object(status: int, message: str, param: str | None, code: str | None) -> dict[str, str | None]:
    """OpenAI's error object, of responses and of events."""
    return {"message": message, "type": _TYPES.get(status, "server_error"), "param": param, "code": code}
