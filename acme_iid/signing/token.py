"""The process that signs with a token: ``python -m acme_iid.signing.token URI``, asked on standard input.

It reads the PIN itself. The PIN is never in its arguments, its environment or a core file, and no other process of
the same user can look into its memory.
"""

from __future__ import annotations

import base64
import ctypes
import os
import resource
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, NoReturn

from acme_iid.errors import SignerError
from acme_iid.signing import messages, places

if TYPE_CHECKING:
    from acme_iid.signing.cryptoki import Token

THREADS = 8
"""The signatures that a token makes at a time."""

_PR_SET_DUMPABLE = 4
_NO_LIBRARY = (
    "python-pkcs11 is not installed, which comes with the extra 'pkcs11': pip install 'FROM[server,pkcs11]', where "
    "FROM is the folder or wheel that acme-iid was installed from"
)


def protect() -> None:
    """Keep this process's memory from other processes and from the disk."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl failed")


def main(uri: str) -> NoReturn:
    """Answer what is asked on standard input until its end."""
    # A module that prints something must not print it among the answers.
    answers = os.dup(1)
    os.dup2(2, 1)
    lock = threading.Lock()

    def say(message: Mapping[str, object]) -> None:
        line = messages.encode(message)
        with lock:
            while line:
                line = line[os.write(answers, line) :]

    def end(why: str) -> NoReturn:
        say({"fatal": why})
        os._exit(1)

    protect()
    place = places.parse(uri)
    assert isinstance(place, places.TokenPlace)
    try:
        from acme_iid.signing.cryptoki import GoneError, Token  # noqa: PLC0415 - the library may be missing
    except ImportError:
        end(_NO_LIBRARY)
    try:
        token = Token(place)
    except GoneError as error:
        end(str(error))
    say({"ready": True})

    def answer(question: Mapping[str, object]) -> None:
        try:
            say({"id": question["id"], **_answer(token, question)})
        except SignerError as error:
            say({"id": question["id"], "error": str(error)})
        except GoneError as error:
            end(str(error))

    _serve(answer, THREADS if token.threaded else 1)


def _serve(answer: Callable[[Mapping[str, object]], None], threads: int) -> NoReturn:
    pool = ThreadPoolExecutor(threads)
    for line in sys.stdin.buffer:
        question = messages.decode(line)
        assert question is not None
        pool.submit(answer, question).add_done_callback(_end_if_unforeseen)
    # A thread in the module can't be ended, and nobody waits for it any more.
    os._exit(0)


def _end_if_unforeseen(done: Future[None]) -> None:
    """End the process after an error that nobody foresaw: a new one is started, and the traceback is in the log."""
    if (error := done.exception()) is not None:
        traceback.print_exception(error)
        os._exit(1)


def _answer(token: Token, question: Mapping[str, object]) -> dict[str, object]:
    place = places.parse(str(question["key"]))
    assert isinstance(place, places.TokenPlace)
    if question.get("ask") == "public-key":
        return {"public_key": _text(token.public_key(place))}
    if question.get("ask") == "generate":
        taken = question["taken"]
        assert isinstance(taken, list)
        spki, made = token.generate(place, str(question["type"]), taken)
        return {"public_key": _text(spki), "made": made}
    digest = base64.b64decode(str(question["digest"]))
    return {"signature": _text(token.sign(place, str(question["algorithm"]), digest))}


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


if __name__ == "__main__":
    main(sys.argv[1])
