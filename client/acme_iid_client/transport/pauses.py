"""The pauses before a request is sent again to a CA that is busy or away.

A CA that has more to do than it can do answers with 503, and says in Retry-After when it is to be asked again. Many
machines are told the same at the same moment, so each adds a random time of its own to what it is told. Without a word
of the CA's, a pause is a random part of a limit that doubles each time.
"""

from __future__ import annotations

import email.utils
import random
import time
from datetime import UTC

import requests

from acme_iid.terminal.durations import span
from acme_iid_client.deadline import Deadline

OVERLOADED = frozenset({502, 503, 504})
"""Statuses with which a server, or a proxy before it, says to everybody: later."""
LATER = OVERLOADED | {429}
"""Statuses that say so to everybody, or to one client."""

MAX_RETRY_AFTER = 24 * 3600
"""The longest pause that a CA is believed to want, seconds."""
_LEAST = 0.1
_WORTH_FITTING = 1.0
"""Seconds: what a CA asks to wait is one at least, unless it asks for nothing."""
_SPREAD = 0.5
"""The random time is up to this part of what the CA says."""
_LONGEST_BUSY, _LONGEST_AWAY = 30.0, 3.0
"""The limits' limits, seconds, for a CA that answers and for one that does not."""
_AWAY_SECONDS = 14.0
"""The pauses for a CA that cannot be reached come to this together: a restart takes less."""


class Pauses:
    """The pauses between the tries of one request.

    :param deadline: when the command has to be done.
    """

    def __init__(self, deadline: Deadline) -> None:
        self._deadline = deadline
        self._tries = 0
        self._waited = 0.0

    def after(self, response: requests.Response | None) -> float | None:
        """Seconds until the request is sent again; None if that is not worth it.

        :param response: the last answer; None if there was none.
        """
        limit = 0.5 * 2.0 ** min(self._tries, 30)
        self._tries += 1
        if response is None:
            if self._waited >= _AWAY_SECONDS:
                return None
            pause = max(_LEAST, _random(min(limit, _LONGEST_AWAY)))
        elif response.status_code in LATER:
            asked = retry_after(response, default=0.0)
            limit = max(min(limit, _LONGEST_BUSY), asked * _SPREAD)
            if asked >= _WORTH_FITTING:
                # The random time is not what leaves no time to ask.
                limit = min(limit, max(0.0, self._deadline.remaining - asked) / 2)
            pause = asked + _random(limit)
        else:
            return None
        self._waited += pause
        return pause


def spread(seconds: float) -> float:
    """The wait that a CA asks for, with a random time of this machine's own."""
    return seconds + _random(seconds * _SPREAD)


def retry_after(response: requests.Response, default: float) -> float:
    """The seconds that Retry-After asks for (RFC 9110 section 10.2.3), between a tenth of a second and a day.

    :param default: seconds, if it asks for nothing that can be read.
    """
    value = response.headers.get("Retry-After", "")
    seconds = default
    if value.isascii() and value.isdigit():
        seconds = float(value[:9])
    elif (moment := _moment(value)) is not None:
        # The time is the CA's; its clock and this machine's may differ.
        now = _moment(response.headers.get("Date", ""))
        seconds = moment - (time.time() if now is None else now)
    return min(max(seconds, _LEAST), MAX_RETRY_AFTER)


def again(response: requests.Response, pause: float) -> str:
    """The sentence for the terminal while a CA that answered is waited for.

    :param pause: seconds.
    """
    busy = "The CA is busy: trying again" if response.status_code in OVERLOADED else "Trying again"
    return f"{busy}..." if pause < 1 else f"{busy} in {span(pause)}, at {clock(pause)}..."


def clock(seconds: float) -> str:
    """The time of day in so many seconds, here."""
    return time.strftime("%H:%M:%S", time.localtime(time.time() + seconds))


def _moment(value: str) -> float | None:
    """Seconds since the epoch, of an HTTP date (RFC 9110 section 5.6.7); None if the text is not a date."""
    try:
        moment = email.utils.parsedate_to_datetime(value)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None


def _random(limit: float) -> float:
    return random.uniform(0, limit)  # noqa: S311 - no secret
