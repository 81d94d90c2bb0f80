"""What stands between ``${{`` and ``}}`` is found, and filled in once; all other text stays as it is."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from coordinator.core.interpolation import MatrixValue, NodeAddress, Unknown, fill, references


def test_references_are_found_in_their_order() -> None:
    text = "run ${{ matrix.lr }} ${{matrix.seed}} at ${{ groups[1].nodes[20].IP_ADDRESS }}:80"
    assert references(text) == (MatrixValue("lr"), MatrixValue("seed"), NodeAddress(1, 20))


def test_what_is_neither_is_unknown() -> None:
    text = "${{ secrets.x }} ${{ matrix.1 }} ${{ groups[0].nodes[0] }} ${{ groups[0].nodes[-1].IP_ADDRESS }}"
    assert references(text) == tuple(
        Unknown(inside) for inside in ("secrets.x", "matrix.1", "groups[0].nodes[0]", "groups[0].nodes[-1].IP_ADDRESS")
    )
    assert references("a ${{ b\nc }} ${{ matrix.x }}") == (Unknown("b"), MatrixValue("x"))
    assert references("${{}}") == (Unknown(""),)


def test_shells_own_braces_are_no_references() -> None:
    for text in ("${HOME}", "$((1+2))", "awk '{{print}}'", "{{ jinja }}", "$$ {{", "$${{ matrix.x }}"):
        assert references(text) == ()


def test_references_are_filled() -> None:
    addresses = [["10.0.0.1"], ["10.0.0.2", "10.0.0.3"]]
    text = "--lr=${{ matrix.lr }} --server ${{ groups[1].nodes[1].IP_ADDRESS }} ${{matrix.lr}}"
    assert fill(text, {"lr": "1e-3"}, addresses) == "--lr=1e-3 --server 10.0.0.3 1e-3"


def test_what_is_filled_in_is_not_filled_again() -> None:
    assert fill("${{ matrix.a }}", {"a": "${{ matrix.b }}", "b": "x"}) == "${{ matrix.b }}"


def test_what_a_node_does_not_have() -> None:
    assert fill("[${{ matrix.extra }}]", {}) == "[]"
    assert fill("${{ groups[1].nodes[0].IP_ADDRESS }}", {}, [["10.0.0.1"]]) == "${{ groups[1].nodes[0].IP_ADDRESS }}"
    assert fill("${{ secrets.x }} ${{", {}) == "${{ secrets.x }} ${{"


def test_a_doubled_dollar_stands_for_the_characters_themselves() -> None:
    assert fill("echo $${{ matrix.x }} ${{ matrix.x }}", {"x": "1"}) == "echo ${{ matrix.x }} 1"


@given(st.text(alphabet="${}ab .\n", max_size=30), st.text(max_size=5))
def test_text_without_references_stays_and_each_reference_is_replaced(text: str, value: str) -> None:
    if "${{" not in text:
        assert fill(text, {"x": value}) == text
        assert references(text) == ()
    plain = text.replace("$", "").replace("{", "")
    assert fill(f"{plain}${{{{ matrix.x }}}}{plain}", {"x": value}) == plain + value + plain
