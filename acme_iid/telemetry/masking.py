"""Takes secrets out of texts that people see: lines of the log, differences of ca.toml, errors.

Places that hold secrets never show them. This is the second wall, for the texts of others (a database's library, a
traceback, a file that an operator wrote), and it goes by the forms that secrets have: a password in a URL, a value
beside a word such as "password", a private key, a token.
"""

from __future__ import annotations

import re

MASK = "***"

# A token's label in a PKCS #11 URI is no secret.
_NAME = (
    r"[\w.-]*(?:password|passwd|passphrase|secret|credential|hmac[_-]?key|api[_-]?key|private[_-]?key|pin-value)"
    r"|(?:[\w.-]*[_.-])?pin|[\w.-]+[_.-]token|(?<![:;])token"
)
_QUOTED = r"\"\"\".*?\"\"\"|'''.*?'''|\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*'"

# Whoever chooses a text chooses how long it is looked at: from each place in it, only so far.
_FORMS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"-----BEGIN ([A-Z0-9 ]*PRIVATE KEY)-----.*?(?:-----END \1-----|\Z)", re.DOTALL), MASK),
    # Up to the last @, so that a password with an @ or a slash in it is hidden whole.
    (re.compile(r"(?i)\b(https?://)[^\s\"'<>/?#]{0,2000}@"), rf"\1{MASK}@"),
    (re.compile(r"(?i)\b([a-z][a-z0-9+.-]{0,30}://[^\s:/@\"'<>]{0,300}):[^\s\"<>]{0,2000}@"), rf"\1:{MASK}@"),
    # A JSON Web Token or a JWS in its short form, and the private members of a JWK.
    (re.compile(r"\beyJ[\w-]{6,4000}\.[\w-]*\.[\w-]*"), MASK),
    (re.compile(r"([\"'](?:d|p|q|dp|dq|qi|k)[\"']\s*:\s*)(?:\"[^\"]*\"|'[^']*')"), rf'\1"{MASK}"'),
    (re.compile(r"(?i)\b((?:proxy-)?authorization\s*[:=]\s*)[^\n]+"), rf"\1{MASK}"),
    (re.compile(r"(?i)\b(bearer)\s+[\w+/=.~-]{16,}"), rf"\1 {MASK}"),
    (re.compile(rf"(?is)(?<![\w.-])([\"']?(?:{_NAME})[\"']?\s*[:=]\s*)(?:{_QUOTED})"), rf'\1"{MASK}"'),
    (re.compile(rf"(?i)(?<![\w.-])((?:{_NAME})\s*=\s*)[^\s\"'&;,\]}}]+"), rf"\1{MASK}"),
)
_HINTS = (
    *("://", "-----begin", "eyj", "bearer", "authorization", "pass", "secret", "token", "credential", "key", "pin"),
    *('"', "'"),
)
"""Each form has one of these, in lower case: most texts have none, and are looked at no further."""
_OPAQUE = re.compile(r"(?<![A-Za-z0-9+/_=-])[A-Za-z0-9+_=-][A-Za-z0-9+/_=-]{31,}")


def masked(text: str) -> str:
    """The text with :data:`MASK` in place of each secret that can be told by its form.

    The name of a file that has a secret in it (``secret_file``) is shown.
    """
    low = text.lower()
    for hint in _HINTS:
        if hint in low:
            break
    else:
        return text
    for form, instead in _FORMS:
        text = form.sub(instead, text)
    return text


def without_opaque(text: str) -> str:
    """The same for the text of an error that nobody foresaw: without long words of letters and digits, too.

    Such a text may quote what a client sent: evidence, a signature, a key.
    """
    return _OPAQUE.sub(lambda found: f"{MASK}({len(found[0])} characters)", masked(text))
