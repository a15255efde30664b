"""Check an exported ledger without govsec: Python's standard library and the `openssl` command (3.0 or newer) only.

    python3 verify_ledger.py ledger.jsonl KEY...       # KEY: base64 of a pinned public key, `public:` in the roots file

Each line after the first is a signed entry. Its signature is Ed25519 over `govsec`, a zero byte, `evidence`, a zero
byte and the entry's body as it stands in the line; each entry names the SHA-256 of the line before it in its chain.
Prints the head of each chain (compare them with a written-down head or an anchor) and ends with 0 when all is right.
"""

import base64
import hashlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path


def is_signed(raw_key: bytes, message: bytes, signature: bytes) -> bool:
    """True when openssl says that the Ed25519 key signed the message."""
    with tempfile.TemporaryDirectory() as folder:
        key, text, proof = Path(folder, "key"), Path(folder, "message"), Path(folder, "signature")
        key.write_bytes(
            bytes.fromhex("302a300506032b6570032100") + raw_key
        )  # RFC 8410: the key as SubjectPublicKeyInfo
        text.write_bytes(message)
        proof.write_bytes(signature)
        argv = ["openssl", "pkeyutl", "-verify", "-pubin", "-keyform", "DER", "-inkey", str(key), "-rawin"]
        argv += ["-in", str(text), "-sigfile", str(proof)]
        return subprocess.run(argv, capture_output=True, check=False).returncode == 0


def main(path: str, *pinned: str) -> int:
    """Check every line; the exit code."""
    keys = {hashlib.sha256(raw := base64.b64decode(text)).hexdigest()[:32]: raw for text in pinned}
    header, *lines = Path(path).read_bytes().splitlines()
    chains: dict[str, tuple[int, str]] = {}
    for place, line in enumerate(lines, 2):
        entry = json.loads(line)
        body, end = entry["body"], line.rindex(b',"key":"')
        chain, (number, previous) = body["chain"], chains.get(body["chain"], (0, "0" * 64))
        message = b"govsec\0evidence\0" + line[len(b'{"body":') : end]
        if entry["purpose"] != "evidence" or entry["key"] != chain or chain not in keys:
            sys.exit(f"line {place}: is not signed by a pinned key for its own chain")
        if not is_signed(keys[chain], message, base64.b64decode(entry["signature"])):
            sys.exit(f"line {place}: the signature is wrong")
        if (body["number"], body["previous"]) != (number + 1, previous):
            sys.exit(f"line {place}: does not follow entry {number} of its chain")
        chains[chain] = number + 1, hashlib.sha256(line).hexdigest()
    heads = {head["chain"]: (head["number"], head["digest"]) for head in json.loads(header)["heads"]}
    if not chains or heads != chains:
        sys.exit("the chains do not end where the first line says")
    print("\n".join(f"right up to {chain}:{number}:{digest}" for chain, (number, digest) in chains.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
