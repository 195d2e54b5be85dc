"""The errors that end a command, and the exit statuses that say which kind each is."""

from __future__ import annotations

REFUSED, AWAY, LOCAL = 10, 11, 12
"""The CA refused, and would again; the CA cannot be reached or says later; something on this machine is not right."""


class ClientError(Exception):
    """A sentence for the person at the terminal: what happened, and what to try.

    :ivar exit_status: the exit status of the command.
    :ivar code: the kind of error as a word for programs, the ACME error type where the CA has given one.
    :ivar status: the HTTP status of the CA's answer, if it is about one.
    :ivar request: the id that the CA gave the request, by which its log has more.
    :ivar untrusted: whether a certificate did not verify under the CA's roots, so that there may be news of them.
    """

    exit_status: int = LOCAL
    code: str = "local"
    status: int | None = None
    request: str | None = None
    untrusted: bool = False


class UntrustedError(ClientError):
    """A certificate does not lead to a root of the CA."""

    untrusted = True


class AwayError(ClientError):
    """The CA cannot be reached, or does not answer."""

    exit_status = AWAY
    code = "unreachable"


def sentence(error: Exception) -> str:
    """An error as a sentence, for a person who did not see it happen: a file's error names the file."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}." if error.filename else f"{error.strerror}."
    return str(error) if isinstance(error, ClientError | OSError) else f"{type(error).__name__}: {error}"
