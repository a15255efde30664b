"""A machine for classic BPF, from the kernel's description, so that filters are tested without a kernel."""

from __future__ import annotations

from govsec.net import bpf


def run(program: bytes, frame: bytes) -> int:
    """How many bytes the program keeps of the frame. A load past its end keeps none, as in the kernel."""
    steps = list(bpf.instructions(program))
    accumulator = index = position = 0
    scratch = [0] * 16
    sizes = {bpf.LOAD_WORD: 4, bpf.LOAD_HALF: 2, bpf.LOAD_BYTE: 1, bpf.LOAD_HALF_AT: 2}
    while True:
        code, yes, no, k = steps[position]
        position += 1
        if code in sizes:
            start = k if code == bpf.LOAD_HALF_AT else index + k
            if start + sizes[code] > len(frame):
                return 0
            accumulator = int.from_bytes(frame[start : start + sizes[code]], "big")
        elif code == bpf.RETURN:
            return k
        elif code == bpf.JUMP:
            position += k
        elif code in (bpf.EQUAL, bpf.GREATER, bpf.ANY_BIT, bpf.GREATER_X):
            truth = {
                bpf.EQUAL: accumulator == k,
                bpf.GREATER: accumulator > k,
                bpf.ANY_BIT: bool(accumulator & k),
                bpf.GREATER_X: accumulator > index,
            }[code]
            position += yes if truth else no
        elif code == bpf.STORE_SCRATCH:
            scratch[k] = accumulator
        elif code in (bpf.X_VALUE, bpf.X_FROM_A):
            index = k if code == bpf.X_VALUE else accumulator
        else:
            accumulator = _computed(code, k, accumulator, index, len(frame), scratch)


def _computed(code: int, k: int, accumulator: int, index: int, size: int, scratch: list[int]) -> int:
    results = {
        bpf.LOAD_SIZE: size,
        bpf.A_FROM_X: index,
        bpf.ADD: accumulator + k,
        bpf.ADD_X: accumulator + index,
        bpf.SUBTRACT_X: accumulator - index,
        bpf.AND: accumulator & k,
    }
    if code == bpf.LOAD_SCRATCH:
        return scratch[k]
    if code in (bpf.SHIFT_LEFT, bpf.SHIFT_RIGHT):
        return (accumulator << k if code == bpf.SHIFT_LEFT else accumulator >> k) & 0xFFFFFFFF
    return results[code] & 0xFFFFFFFF
