"""The text of a token: 256 random bits that a secret scanner recognises.

`lh_`, 43 digits of base 62, and 6 more that are the CRC-32 of all before: a scanner tells a
token from a word that looks like one without asking anybody.
Source: https://github.blog/2021-04-05-behind-githubs-new-authentication-token-formats/
"""

import hashlib
import secrets
import string
import zlib

from lakehouse.redaction import TOKEN_PREFIX

DIGITS = string.digits + string.ascii_uppercase + string.ascii_lowercase
SECRET_BITS = 256
SECRET_DIGITS = 43  # 62 ** 43 > 2 ** 256
CHECK_DIGITS = 6  # 62 ** 6 > 2 ** 32


def new_secret() -> str:
    head = TOKEN_PREFIX + base62(secrets.randbits(SECRET_BITS), SECRET_DIGITS)
    return head + check_digits(head)


def check_digits(head: str) -> str:
    return base62(zlib.crc32(head.encode()), CHECK_DIGITS)


def base62(number: int, width: int) -> str:
    digits = []
    for _ in range(width):
        number, rest = divmod(number, len(DIGITS))
        digits.append(DIGITS[rest])
    return "".join(reversed(digits))


def hash_of(secret: str) -> str:
    """Return what is kept of a secret. It has 256 random bits, so no salt and no slow hash."""
    return hashlib.sha256(secret.encode()).hexdigest()
