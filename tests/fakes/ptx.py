"""Runs the PTX of `agent.check.kernels` thread by thread, as NVIDIA's manual says, for hosts without a GPU.

It knows the instructions that stand there and no others; arithmetic is exact, with one rounding where PTX has one.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

THREADS = 32


def single(value: Fraction) -> Fraction:
    """The nearest binary32, half-way cases to the even one; for normal numbers and zero."""
    if value == 0:
        return value
    sign, value = (-1, -value) if value < 0 else (1, value)
    exponent = value.numerator.bit_length() - value.denominator.bit_length()
    exponent -= value < Fraction(2) ** exponent
    unit = Fraction(2) ** (exponent - 23)
    # Python rounds halves of fractions to even.
    return sign * round(value / unit) * unit


def bits_of(value: Fraction) -> int:
    """Its binary32, which it must be exactly."""
    packed = struct.pack("<f", float(value))
    assert Fraction(struct.unpack("<f", packed)[0]) == value
    return int.from_bytes(packed, "little")


def value_of(bits: int) -> Fraction:
    return Fraction(struct.unpack("<f", bits.to_bytes(4, "little"))[0])


@dataclass
class Memory:
    """The GPU's, by address of words of 4 bytes."""

    words: dict[int, int] = field(default_factory=dict)

    def load(self, address: int, size: int = 4) -> int:
        return sum(self.words.get(address + 4 * i, 0) << 32 * i for i in range(size // 4))

    def store(self, address: int, value: int, size: int = 4) -> None:
        assert address % size == 0, "an address that is not aligned"
        for i in range(size // 4):
            self.words[address + 4 * i] = value >> 32 * i & 0xFFFFFFFF


class Kernel:
    """One entry of a program."""

    def __init__(self, program: str, name: str) -> None:
        found = re.search(rf"\.entry {name}\(([^)]*)\)\s*\{{(.*?)\n\}}", program, re.DOTALL)
        assert found is not None, f"no entry {name}"
        self.parameters = re.findall(r"\.param \.(\w+) (\w+)", found[1])
        text = re.sub(r"//[^\n]*", "", found[2])
        parts = [part.strip() for part in re.split(r";|(?<=:)\n", text)]
        self.steps = [part for part in parts if part and not part.startswith(".reg")]
        self.labels = {step[:-1]: place for place, step in enumerate(self.steps) if step.endswith(":")}

    def run(self, memory: Memory, blocks: int, **arguments: int) -> None:
        """All threads of so many blocks of ``THREADS``, one after the other."""
        assert [name for _, name in self.parameters] == list(arguments)
        for block in range(blocks):
            for thread in range(THREADS):
                special = {"%ctaid.x": block, "%ntid.x": THREADS, "%tid.x": thread, "%nctaid.x": blocks}
                Thread(self, memory, special, arguments).run()


class Thread:
    """One thread: its registers hold whole numbers, floats as their bits."""

    def __init__(
        self, kernel: Kernel, memory: Memory, special: Mapping[str, int], arguments: Mapping[str, int]
    ) -> None:
        self.kernel, self.memory, self.special, self.arguments = kernel, memory, special, arguments
        self.registers: dict[str, int] = {}

    def run(self) -> None:
        place = 0
        while (step := self.kernel.steps[place]) != "ret":
            place = self.step(step, place) + 1

    def step(self, step: str, place: int) -> int:
        if step.endswith(":"):
            return place
        if step.startswith("@"):
            guard, step = step.split(None, 1)
            if not self.registers[guard[1:]]:
                return place
        operation, _, rest = step.partition(" ")
        operands = [operand.strip() for operand in rest.split(",")]
        if operation == "bra":
            return self.kernel.labels[operands[0]]
        self.operate(operation, operands)
        return place

    def get(self, operand: str) -> int:
        if operand in self.special:
            return self.special[operand]
        if operand in self.registers:
            return self.registers[operand]
        return int(operand[2:], 16) if operand.startswith("0f") else int(operand, 0)

    def address(self, operand: str) -> int:
        name, _, offset = operand.strip("[]").partition("+")
        return self.registers[name] + int(offset or 0)

    def operate(self, operation: str, operands: list[str]) -> None:
        kind, *modifiers = operation.split(".")
        width = next((int(m[1:]) for m in reversed(modifiers) if re.fullmatch(r"[usbf](32|64)", m)), 0)
        if kind == "st":
            self.memory.store(self.address(operands[0]), self.get(operands[1]), width // 8)
        elif kind == "ld":
            source = operands[1].strip("[]")
            known = self.arguments if "param" in modifiers else None
            value = known[source] if known else self.memory.load(self.address(operands[1]), width // 8)
            self.registers[operands[0]] = value
        elif kind == "atom":
            self.atom(modifiers, operands, width)
        else:
            self.registers[operands[0]] = self.result(kind, modifiers, operands[1:], width)

    def atom(self, modifiers: list[str], operands: list[str], width: int) -> None:
        place, value = self.address(operands[1]), self.get(operands[2])
        before = self.memory.load(place, width // 8)
        after = {"add": before + value, "min": min(before, value), "or": before | value}[modifiers[1]]
        self.memory.store(place, after, width // 8)
        self.registers[operands[0]] = before

    def result(self, kind: str, modifiers: list[str], operands: list[str], width: int) -> int:
        values = [self.get(operand) for operand in operands]
        if "f32" in modifiers and kind in ("mul", "fma"):
            numbers = [value_of(value) for value in values]
            exact = numbers[0] * numbers[1] + (numbers[2] if kind == "fma" else 0)
            assert "rn" in modifiers
            return bits_of(single(exact))
        if kind == "cvt" and "f32" in modifiers:
            assert modifiers == ["rn", "f32", "u32"]
            return bits_of(Fraction(values[0]))
        if kind == "setp":
            return int({"ge": values[0] >= values[-1], "eq": values[0] == values[-1]}[modifiers[0]])
        wide = 64 if "wide" in modifiers else int(modifiers[0][1:]) if kind == "cvt" else width
        return self.whole(kind, values) & ((1 << wide) - 1)

    @staticmethod
    def whole(kind: str, values: list[int]) -> int:
        if kind in ("mov", "cvt", "cvta"):
            return values[0]
        a, b = values[0], values[1]
        simple = {"add": a + b, "sub": a - b, "mul": a * b, "xor": a ^ b, "and": a & b}
        if kind == "mad":
            return a * b + values[2]
        if kind in ("shl", "shr"):
            return a << b if kind == "shl" else a >> b
        return simple[kind]
