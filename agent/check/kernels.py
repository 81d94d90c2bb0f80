"""The work that a GPU is given, as PTX, which every driver translates for its card. Loaded by `burn_worker` alone.

Three kinds of errors are looked for: memory that gives back something else (`fill`, `verify`), arithmetic units that
calculate wrongly (`chaos`: a map that never settles, and a sum in which each of its numbers counts to the last bit),
tensor units (`tensor`).
"""

from __future__ import annotations

# Words are told apart by their place, so that an address line that is stuck shows, too.
_PLACES = """
    .reg .pred p; .reg .b32 r<8>; .reg .b64 d<8>;
    ld.param.u64 d0, [base]; cvta.to.global.u64 d0, d0;
    ld.param.u64 d1, [words]; ld.param.u32 r0, [seed];
    mov.u32 r1, %ctaid.x; mov.u32 r2, %ntid.x; mov.u32 r3, %tid.x; mov.u32 r4, %nctaid.x;
    mul.wide.u32 d2, r1, r2; cvt.u64.u32 d3, r3; add.u64 d2, d2, d3; mul.wide.u32 d4, r4, r2;
NEXT:
    setp.ge.u64 p, d2, d1; @p bra DONE;
    cvt.u32.u64 r5, d2; shr.u64 d5, d2, 32; cvt.u32.u64 r6, d5;
    mul.lo.u32 r5, r5, 0x9E3779B1; mad.lo.u32 r5, r6, 0x85EBCA77, r5; xor.b32 r5, r5, r0;
    shl.b64 d5, d2, 2; add.u64 d5, d0, d5;
"""

# 1.0 - 1.9 v v, from 0.1 + lane / 64 on: the same in each warp, in binary32 with one rounding an operation. The map
# alone would not do: where it is flat, the error of a last bit is rounded away.
MAIN = (
    """
.version 6.4
.target sm_50
.address_size 64

.visible .entry fill(.param .u64 base, .param .u64 words, .param .u32 seed)
{"""
    + _PLACES
    + """
    st.global.u32 [d5], r5;
    add.u64 d2, d2, d4; bra NEXT;
DONE:
    ret;
}

.visible .entry verify(.param .u64 base, .param .u64 words, .param .u32 seed, .param .u64 found)
{"""
    + _PLACES
    + """
    ld.global.u32 r6, [d5]; setp.eq.u32 p, r5, r6; @p bra SAME;
    ld.param.u64 d6, [found]; cvta.to.global.u64 d6, d6;
    atom.global.add.u64 d7, [d6], 1; atom.global.min.u64 d7, [d6+8], d2;
    xor.b32 r6, r5, r6; cvt.u64.u32 d7, r6; atom.global.or.b64 d7, [d6+16], d7;
SAME:
    add.u64 d2, d2, d4; bra NEXT;
DONE:
    ret;
}

.visible .entry chaos(.param .u64 out, .param .u32 rounds)
{
    .reg .pred p; .reg .b32 r<8>; .reg .b64 d<4>; .reg .f32 f<3>;
    ld.param.u64 d0, [out]; cvta.to.global.u64 d0, d0; ld.param.u32 r0, [rounds];
    mov.u32 r1, %ctaid.x; mov.u32 r2, %ntid.x; mov.u32 r3, %tid.x; mad.lo.u32 r4, r1, r2, r3;
    mov.u32 r7, 0; and.b32 r5, r3, 31; cvt.rn.f32.u32 f0, r5; fma.rn.f32 f0, f0, 0f3C800000, 0f3DCCCCCD;
NEXT:
    setp.eq.u32 p, r0, 0; @p bra DONE;
    mul.rn.f32 f1, f0, f0; fma.rn.f32 f0, f1, 0fBFF33333, 0f3F800000;
    mov.b32 r6, f0; mad.lo.u32 r7, r7, 1664525, r6;
    sub.u32 r0, r0, 1; bra NEXT;
DONE:
    mul.wide.u32 d1, r4, 4; add.u64 d0, d0, d1; st.global.u32 [d0], r7;
    ret;
}
"""
)

_MMA = "    mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {{{c}}}, {{a, a, a, a}}, {{{b}, {b}}}, {{{c}}};\n"
_SUMS = [", ".join(f"c{4 * chain + part}" for part in range(4)) for chain in range(4)]

# 1.5 times 2, and 1.5 times -1, in 16 places: each round adds 24 to every sum, exactly. For cards from Ampere on.
TENSOR_ROUND = 24
TENSOR_FLOPS = 2 * 16 * 8 * 16 * 8
TENSOR = (
    """
.version 7.0
.target sm_80
.address_size 64

.visible .entry tensor(.param .u64 out, .param .u32 rounds)
{
    .reg .pred p; .reg .b32 r<8>; .reg .b64 d<4>; .reg .b32 a, b0, b1; .reg .f32 c<16>, t;
    ld.param.u64 d0, [out]; cvta.to.global.u64 d0, d0; ld.param.u32 r0, [rounds];
    mov.u32 r1, %ctaid.x; mov.u32 r2, %ntid.x; mov.u32 r3, %tid.x; mad.lo.u32 r4, r1, r2, r3;
    mov.b32 a, 0x3E003E00; mov.b32 b0, 0x40004000; mov.b32 b1, 0xBC00BC00;
"""
    + "".join(f"    mov.f32 c{part}, 0f00000000;\n" for part in range(16))
    + "NEXT:\n    setp.eq.u32 p, r0, 0; @p bra DONE;\n"
    + "".join(_MMA.format(c=sums, b=b) for b in ("b0", "b1") for sums in _SUMS)
    + "    sub.u32 r0, r0, 1; bra NEXT;\nDONE:\n    mov.f32 t, c0;\n"
    # One sum that is not like the others spoils the result.
    + "".join(f"    setp.neu.f32 p, c{part}, c0; @p mov.f32 t, 0fBF800000;\n" for part in range(1, 16))
    + "    mul.wide.u32 d1, r4, 4; add.u64 d0, d0, d1; st.global.f32 [d0], t;\n    ret;\n}\n"
)
