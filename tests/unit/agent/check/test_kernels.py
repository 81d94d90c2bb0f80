"""The PTX that GPUs are given does what the check believes of it: run instruction by instruction, without a GPU."""

from __future__ import annotations

import struct

import pytest

from agent.check import arithmetic, kernels
from agent.check.burn_worker import NOWHERE, SEEDS
from tests.fakes.ptx import THREADS, Kernel, Memory

BASE, FOUND = 0x7F00_0000_0000, 0x1000
WORDS = 100


def words(memory: Memory, number: int = WORDS) -> list[int]:
    return [memory.load(BASE + 4 * place) for place in range(number)]


def verified(memory: Memory, seed: int, number: int = WORDS) -> tuple[int, int, int]:
    for place, value in enumerate((0, NOWHERE, 0)):
        memory.store(FOUND + 8 * place, value, 8)
    Kernel(kernels.MAIN, "verify").run(memory, 2, base=BASE, words=number, seed=seed, found=FOUND)
    wrong, first, bits = (memory.load(FOUND + 8 * place, 8) for place in range(3))
    return wrong, first, bits


@pytest.mark.parametrize("seed", SEEDS)
def test_memory_is_filled_to_its_last_word_and_no_further_and_found_as_it_was_filled(seed: int) -> None:
    memory = Memory()
    Kernel(kernels.MAIN, "fill").run(memory, 2, base=BASE, words=WORDS, seed=seed)
    assert sorted(memory.words) == [BASE + 4 * place for place in range(WORDS)]
    assert words(memory) == [(place * 0x9E3779B1 & 0xFFFFFFFF) ^ seed for place in range(WORDS)]
    assert len(set(words(memory))) == WORDS, "each word tells its place"
    assert verified(memory, seed) == (0, NOWHERE, 0)
    assert verified(memory, seed ^ 0xFFFFFFFF) == (WORDS, 0, 0xFFFFFFFF)


def test_wrong_words_are_counted_with_the_first_and_the_bits() -> None:
    memory = Memory()
    Kernel(kernels.MAIN, "fill").run(memory, 2, base=BASE, words=WORDS, seed=0xAAAAAAAA)
    for place, bit in ((70, 0x10), (99, 0x80000000), (41, 0x10)):
        memory.words[BASE + 4 * place] ^= bit
    assert verified(memory, 0xAAAAAAAA) == (3, 41, 0x80000010)


@pytest.mark.parametrize("rounds", [0, 1, 40])
def test_each_warp_gives_what_the_cpu_says(rounds: int) -> None:
    memory = Memory()
    Kernel(kernels.MAIN, "chaos").run(memory, 2, out=BASE, rounds=rounds)
    expected = list(struct.unpack("<32I", arithmetic.chaos(rounds)))
    assert words(memory, 2 * THREADS) == expected * 2


def test_a_round_of_the_tensor_kernel_adds_to_every_sum_what_the_check_counts_with() -> None:
    # 16 products a sum, of halves that are all alike, so that it does not matter which lane has which.
    half = {pattern: struct.unpack("<e", pattern.to_bytes(2, "little"))[0] for pattern in (0x3E00, 0x4000, 0xBC00)}
    assert 16 * half[0x3E00] * (half[0x4000] + half[0xBC00]) == kernels.TENSOR_ROUND
    assert "mov.b32 a, 0x3E003E00; mov.b32 b0, 0x40004000; mov.b32 b1, 0xBC00BC00;" in kernels.TENSOR
    lines = [line.split() for line in kernels.TENSOR.splitlines() if "mma.sync" in line]
    sums = [f"{{c{4 * chain}, c{4 * chain + 1}, c{4 * chain + 2}, c{4 * chain + 3}}}" for chain in range(4)]
    told = [" ".join(line[1:]) for line in lines]
    assert told == [f"{c}, {{a, a, a, a}}, {{{b}, {b}}}, {c};" for b in ("b0", "b1") for c in sums]
    assert 2 * 16 * 8 * 16 * len(lines) == kernels.TENSOR_FLOPS
