"""Prints secagg_keys.txt and shamir.txt: what common/secagg must give, made without it.

It imports nothing but the standard library. X25519 is RFC 7748's pseudocode, HKDF is two lines of
HMAC, ChaCha20-Poly1305 is RFC 8439's description, framing is struct, and a shared secret is a
polynomial evaluated power by power. Run it as `python secagg_keys_by_hand.py keys` or `shamir`.
"""

import hashlib
import hmac
import struct
import sys

P25519 = 2**255 - 19
P1305 = 2**130 - 5
P_SHAMIR = 2**256 + 297


def framed(*parts):
    return b"".join(struct.pack(">I", len(part)) + part for part in parts)


def hkdf(secret, salt, info):
    prk = hmac.new(salt, secret, hashlib.sha256).digest()
    return hmac.new(prk, info + b"\x01", hashlib.sha256).digest()


def x25519(scalar, u):
    k = int.from_bytes(scalar, "little") & ((1 << 254) - 8) | (1 << 254)
    x1 = int.from_bytes(u, "little") & ((1 << 255) - 1)
    x2, z2, x3, z3 = 1, 0, x1, 1
    for t in range(254, -1, -1):
        bit = k >> t & 1
        if bit:
            x2, z2, x3, z3 = x3, z3, x2, z2
        a, b, c, d = x2 + z2, x2 - z2, x3 + z3, x3 - z3
        aa, bb, da, cb = a * a, b * b, d * a, c * b
        e = aa - bb
        x3, z3 = (da + cb) ** 2 % P25519, x1 * (da - cb) ** 2 % P25519
        x2, z2 = aa * bb % P25519, e * (aa + 121665 * e) % P25519
        if bit:
            x2, z2, x3, z3 = x3, z3, x2, z2
    return (x2 * pow(z2, P25519 - 2, P25519) % P25519).to_bytes(32, "little")


def chacha20_block(key, counter, nonce):
    start = struct.unpack("<4I", b"expand 32-byte k") + struct.unpack("<8I", key)
    start += (counter, *struct.unpack("<3I", nonce))
    s = list(start)

    def quarter(a, b, c, d):
        for x, y, z, turn in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
            s[x] = (s[x] + s[y]) % 2**32
            s[z] ^= s[x]
            s[z] = (s[z] << turn | s[z] >> (32 - turn)) % 2**32

    for _ in range(10):
        for i in range(4):
            quarter(i, 4 + i, 8 + i, 12 + i)
        for i in range(4):
            quarter(i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4)
    return struct.pack("<16I", *((a + b) % 2**32 for a, b in zip(s, start, strict=True)))


def chacha20_poly1305(key, nonce, data, plain):
    num = len(plain)
    stream = b"".join(chacha20_block(key, 1 + i, nonce) for i in range(num // 64 + 1))
    cipher = bytes(a ^ b for a, b in zip(plain, stream[:num], strict=True))
    one_time = chacha20_block(key, 0, nonce)
    r = int.from_bytes(one_time[:16], "little") & 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF
    lengths = struct.pack("<QQ", len(data), num)
    covered = data + bytes(-len(data) % 16) + cipher + bytes(-num % 16) + lengths
    tag = 0
    for i in range(0, len(covered), 16):
        tag = (tag + int.from_bytes(covered[i : i + 16] + b"\x01", "little")) * r % P1305
    tag += int.from_bytes(one_time[16:32], "little")
    return cipher + (tag % 2**128).to_bytes(16, "little")


def keys():
    label = b"crosscloud/1/"
    base = (9).to_bytes(32, "little")
    a, b = (hashlib.sha256(name).digest() for name in (b"secret of aws", b"secret of gcp"))
    agreed = x25519(a, x25519(b, base))
    assert agreed == x25519(b, x25519(a, base))
    ph = hashlib.sha256(b"the plan as transported").digest()
    u2, numbers = framed(b"aws", b"gcp"), framed(b"numbers of aws", b"numbers of gcp")
    ctx = hashlib.sha256(framed(label + b"context", ph, u2, numbers)).digest()
    share = hkdf(agreed, ph, framed(label + b"share", b"aws", b"gcp"))
    plain = (7).to_bytes(33, "little") + (2**256 + 296).to_bytes(33, "little") + bytes(range(32))
    data = framed(label + b"share", ph, b"aws", b"gcp")
    yield "public_aws", x25519(a, base)
    yield "public_gcp", x25519(b, base)
    yield "plan_hash", ph
    yield "context", ctx
    yield "share_key", share
    yield "share_key_back", hkdf(agreed, ph, framed(label + b"share", b"gcp", b"aws"))
    yield "pair_seed", hkdf(agreed, ctx, framed(label + b"pair", b"aws", b"gcp"))
    yield "self_seed", hkdf(bytes(range(32)), ctx, framed(label + b"self", b"aws"))
    yield "kappa", hkdf(framed(b"a" * 32, b"g" * 32), ctx, framed(label + b"kappa"))
    yield "sealed", chacha20_poly1305(share, bytes(12), data, plain)
    for purpose in ("commit-self", "commit-kappa"):
        framing = framed(label + purpose.encode(), bytes(range(32)))
        yield purpose, hashlib.sha256(framing).digest()
    yield "list_content", framed(ph, framed(b"aws", b"azure", b"gcp"), framed(b"aws", b"gcp"))
    yield "signed_message", framed(label + b"list", hashlib.sha256(b"content").digest())


def shamir():
    """Polynomial n has as coefficient k the SHA-256 of "n k"; the second's secret is all ones."""
    for n, (threshold, num) in enumerate(((3, 3), (3, 5), (1, 2), (7, 12))):
        digests = (hashlib.sha256(b"%d %d" % (n, k)).digest() for k in range(threshold))
        coefficients = [int.from_bytes(digest, "little") for digest in digests]
        if n == 1:
            coefficients[0] = 2**256 - 1
        for x in range(1, num + 1):
            y = sum(c * x**k for k, c in enumerate(coefficients)) % P_SHAMIR
            yield f"{n} {threshold} {x}", y.to_bytes(33, "little")
        yield f"{n} {threshold} 0", coefficients[0].to_bytes(32, "little")


HEADERS = {
    "keys": "# Derivations of common/secagg: name, hex. Made by",
    "shamir": "# Shares: polynomial, threshold, x, hex; at x = 0 the secret. Made by",
}

if __name__ == "__main__":
    which = sys.argv[1]
    sys.stdout.write(f"{HEADERS[which]} `secagg_keys_by_hand.py {which}`,\n")
    sys.stdout.write("# which uses none of our code; they change only with a new protocol.\n")
    for name, value in {"keys": keys, "shamir": shamir}[which]():
        sys.stdout.write(f"{name} {value.hex()}\n")
