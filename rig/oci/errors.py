# SPDX-License-Identifier: GPL-3.0-or-later
"""The errors that OCI's services answer with.

Facts imitated (OCI "API Errors" reference):
- the body is `{"code": ..., "message": ...}`, the HTTP status goes with the code;
- a missing and a forbidden resource are the same 404 NotAuthorizedOrNotFound;
- a resource named in the request's body that is missing or forbidden is 400 RelatedResourceNotAuthorizedOrNotFound.
"""

from __future__ import annotations


class ServiceError(Exception):
    """An answer that is an error: HTTP status, OCI's code and a message for people."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code
        self.message = message


def cannot_parse(message: str) -> ServiceError:
    return ServiceError(400, "CannotParseRequest", message)


def invalid_parameter(message: str) -> ServiceError:
    return ServiceError(400, "InvalidParameter", message)


def missing_parameter(name: str) -> ServiceError:
    return ServiceError(400, "MissingParameter", f"Missing required parameter: {name}")


def related_resource(name: str, value: str) -> ServiceError:
    """`value`, given as field `name` of the request's body, does not exist or may not be used."""
    return ServiceError(
        400,
        "RelatedResourceNotAuthorizedOrNotFound",
        f"Authorization failed or requested resource not found: {name} {value}",
    )


def not_authenticated(reason: str) -> ServiceError:
    return ServiceError(
        401,
        "NotAuthenticated",
        f"The required information to complete authentication was not provided or was incorrect. ({reason})",
    )


def not_found() -> ServiceError:
    return ServiceError(404, "NotAuthorizedOrNotFound", "Authorization failed or requested resource not found.")


def no_such_operation(method: str, path: str) -> ServiceError:
    return ServiceError(404, "NotFound", f"No operation of the rig's OCI stand-in answers {method} {path}")


def method_not_allowed(method: str) -> ServiceError:
    return ServiceError(405, "MethodNotAllowed", f"Method {method} is not allowed on this resource")


def incorrect_state(message: str) -> ServiceError:
    return ServiceError(409, "IncorrectState", message)


def invalidated_retry_token() -> ServiceError:
    return ServiceError(
        409, "InvalidatedRetryToken", "The opc-retry-token was used before with a request of another content."
    )


def no_etag_match(given: str) -> ServiceError:
    return ServiceError(412, "NoEtagMatch", f"The if-match value {given} is not the resource's current etag.")


def internal_error(message: str) -> ServiceError:
    return ServiceError(500, "InternalError", message)
