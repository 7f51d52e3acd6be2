"""What is read off compiled programs: hand-made ones, whose bytes, FLOP and turns are known."""

import compile_for_gpu
import jax
import jax.numpy as jnp
import pytest
from foretell import CARDS, forecast, seconds_of, stage
from hlo_costs import kernels
from hlo_program import arrays, num_bytes, parse

# A loop of 7 turns around a product and a fusion that writes one row of a board in place; before it
# a copy; after it a library's product of bfloat16.
PROGRAM = """HloModule jit_f, entry_computation_layout={(f32[8,16]{1,0})->f32[8,4]{1,0}}

%in_place (p0: f32[100,16], p1: f32[8,16], p2: s32[]) -> f32[100,16] {
  %p0 = f32[100,16]{1,0} parameter(0)
  %p1 = f32[8,16]{1,0} parameter(1)
  %p2 = s32[] parameter(2)
  %zero = s32[] constant(0)
  %row = f32[1,16]{1,0} slice(%p1), slice={[0:1], [0:16]}
  ROOT %put = f32[100,16]{1,0} dynamic-update-slice(%p0, %row, %p2, %zero)
}

%body (t: (s32[], f32[8,16], f32[100,16])) -> (s32[], f32[8,16], f32[100,16]) {
  %t = (s32[], f32[8,16]{1,0}, /*index=2*/f32[100,16]{1,0}) parameter(0)
  %i = s32[] get-tuple-element(%t), index=0
  %x = f32[8,16]{1,0} get-tuple-element(%t), index=1
  %board = f32[100,16]{1,0} get-tuple-element(%t), index=2
  %w = f32[16,16]{1,0} constant({...})
  %y = f32[8,16]{1,0} dot(%x, %w), lhs_contracting_dims={1}, rhs_contracting_dims={0}, metadata={op_name="jit(f)/while/body/rule/dot_general"}
  %new = f32[100,16]{1,0} fusion(%board, %y, %i), kind=kLoop, calls=%in_place, metadata={op_name="jit(f)/while/body/acting/put"}
  ROOT %out = (s32[], f32[8,16]{1,0}, f32[100,16]{1,0}) tuple(%i, %y, %new)
}

%cond (t: (s32[], f32[8,16], f32[100,16])) -> pred[] {
  %t = (s32[], f32[8,16]{1,0}, f32[100,16]{1,0}) parameter(0)
  %i = s32[] get-tuple-element(%t), index=0
  %n = s32[] constant(7)
  ROOT %less = pred[] compare(%i, %n), direction=LT
}

ENTRY %main (a: f32[8,16], b: bf16[8,32], c: bf16[32,4]) -> bf16[8,4] {
  %a = f32[8,16]{1,0} parameter(0)
  %b = bf16[8,32]{1,0} parameter(1)
  %c = bf16[32,4]{1,0} parameter(2)
  %z = s32[] constant(0)
  %copied = f32[8,16]{1,0} copy(%a)
  %empty = f32[100,16]{1,0} broadcast(%z), dimensions={}
  %start = (s32[], f32[8,16]{1,0}, f32[100,16]{1,0}) tuple(%z, %copied, %empty)
  %loop = (s32[], f32[8,16]{1,0}, f32[100,16]{1,0}) while(%start), condition=%cond, body=%body, backend_config={"known_trip_count":{"n":"7"}}
  %call = (bf16[8,4]{1,0}, s8[1024]{0}) custom-call(%b, %c), custom_call_target="__cublas$gemm", metadata={op_name="jit(f)/heads/dot_general"}, backend_config={"gemm_backend_config":{"dot_dimension_numbers":{"lhs_contracting_dimensions":["1"],"rhs_contracting_dimensions":["0"]}}}
  ROOT %y = bf16[8,4]{1,0} get-tuple-element(%call), index=0
}
"""  # noqa: E501


@pytest.fixture(scope="module")
def found():
    return {kernel.name: kernel for kernel in kernels(parse(PROGRAM))}


def test_bytes_flop_and_turns_of_every_kernel(found):
    assert {name: (k.times, k.bytes, k.flop) for name, k in found.items()} == {
        "copied": (1, 2 * 8 * 16 * 4, 0),
        "empty": (1, 100 * 16 * 4 + 4, 0),
        "y": (7, (8 * 16 + 8 * 16 + 16 * 16) * 4, 2 * 8 * 16 * 16),
        # The row read and written, and where; not the board.
        "new": (7, 2 * 16 * 4 + 4, 0),
        "call": (1, 8 * 32 * 2 + 32 * 4 * 2 + 8 * 4 * 2 + 1024, 2 * 8 * 4 * 32),
    }
    assert found["call"].element_type == "bf16" and found["y"].element_type == "f32"


def test_a_kernel_takes_what_takes_longer_and_its_launch(found):
    card = CARDS["h100"]
    assert seconds_of(found["y"], card) == 2048 / card.bandwidth + card.launch
    dear = found["call"]._replace(flop=1e12)
    assert seconds_of(dear, card) == 1e12 / card.half + card.launch
    assert seconds_of(dear._replace(element_type="f32"), card) == 1e12 / card.single + card.launch


def test_a_forecast_adds_up_by_stage(found):
    told = forecast(found.values(), "h100")
    assert told.whole.times == 1 + 1 + 7 + 7 + 1
    assert told.whole.bytes == sum(k.times * k.bytes for k in found.values())
    assert told.seconds == pytest.approx(sum(row.seconds for row in told.stages))
    assert told.seconds == pytest.approx(sum(row.seconds for row in told.kernels))
    times = {row.where: row.times for row in told.stages}
    assert times == {"": 2, "rule/dot_general": 7, "acting/put": 7, "heads/dot_general": 1}
    assert [row.seconds for row in told.stages] == sorted(
        (row.seconds for row in told.stages), reverse=True
    )
    assert told.as_record()["milliseconds"] == pytest.approx(1e3 * told.seconds)


def test_a_stage_is_named_without_loops_and_transforms():
    label = "jit(_run)/while/body/closed_call/window/transpose(jvp(act))/while/body/network/dot/x"
    assert stage(label) == "window/transpose(jvp(act))/network/dot"


def test_element_types_of_any_width():
    shape = "(pred[3], s4[10]{0}, f8e4m3fn[5], bf16[2,2]{1,0:T(8,128)}, c64[], token[])"
    assert num_bytes(shape) == 3 + 5 + 5 + 8 + 8 + 0
    assert list(arrays("f32[]")) == [("f32", [])]


@pytest.mark.parametrize(
    ("line", "size"),
    [
        # Of an operand that is gathered from, what is gathered.
        ("%r = f32[4,16]{1,0} gather(%board, %at), offset_dims={1}", 2 * 4 * 16 * 4),
        ("%r = f32[1,16]{1,0} dynamic-slice(%board, %i, %i)", 2 * 16 * 4),
        ("%r = f32[100,16]{1,0} dynamic-update-slice(%board, %row, %i, %i)", 2 * 2 * 16 * 4),
        ("%r = f32[100,16]{1,0} add(%board, %board)", 3 * 6400),
    ],
)
def test_slices_are_not_whole_boards(line, size):
    text = f"""ENTRY %main (board: f32[100,16], at: s32[4], row: f32[2,16], i: s32[]) -> f32[] {{
  %board = f32[100,16]{{1,0}} parameter(0)
  %at = s32[4]{{0}} parameter(1)
  %row = f32[2,16]{{1,0}} parameter(2)
  %i = s32[] parameter(3)
  ROOT {line}
}}
"""
    (kernel,) = kernels(parse(text))
    assert kernel.bytes == size


def test_a_program_of_this_machines_compiler_is_read():
    """Its loop, and a product within: the same text format as a GPU's."""

    def turned(x):
        return jax.lax.fori_loop(0, 5, lambda _, y: jnp.sin(y @ y), x)

    text = jax.jit(turned).lower(jnp.ones((64, 64))).compile().as_text()
    assert text is not None
    flop = sum(k.times * k.flop for k in kernels(parse(text)))
    assert flop == 5 * 2 * 64**3


def test_what_is_no_program_is_refused():
    with pytest.raises(ValueError, match="no ENTRY computation"):
        parse("nothing")
    with pytest.raises(ValueError, match="stays open"):
        parse("ENTRY %main () -> f32[] {\n  ROOT %r = (f32[], f32[ add(\n}\n")


def test_products_of_fused_kernels_are_theirs():
    fused = PROGRAM.replace(
        "  %row = f32[1,16]{1,0} slice(%p1), slice={[0:1], [0:16]}\n",
        "  %w = f32[16,16]{1,0} constant({...})\n"
        "  %all = f32[8,16]{1,0} dot(%p1, %w), lhs_contracting_dims={1}\n"
        "  %row = f32[1,16]{1,0} slice(%all), slice={[0:1], [0:16]}\n",
    )
    kernel = next(k for k in kernels(parse(fused)) if k.name == "new")
    assert kernel.flop == 2 * 8 * 16 * 16 and kernel.element_type == "f32"
    assert kernel.bytes == 8 * 16 * 4 + 16 * 4 + 4  # all of p1, the row, where


FUSED = """%inner (p: f32[8,16], q: f32[16,4]) -> f32[8,4] {
  %p = f32[8,16]{1,0} parameter(0)
  %q = f32[16,4]{1,0} parameter(1)
  ROOT %dot = f32[8,4]{1,0} dot(%p, %q), lhs_contracting_dims={1}, rhs_contracting_dims={0}
}

%outer (a: f32[8,16], b: f32[16,4], board: f32[100,4], at: s32[8,1]) -> (f32[100,4], f32[1,16]) {
  %a = f32[8,16]{1,0} parameter(0)
  %b = f32[16,4]{1,0} parameter(1)
  %board = f32[100,4]{1,0} parameter(2)
  %at = s32[8,1]{1,0} parameter(3)
  %product = f32[8,4]{1,0} fusion(%a, %b), kind=kOutput, calls=%inner
  %put = f32[100,4]{1,0} scatter(%board, %at, %product), to_apply=%add
  %turned = f32[16,8]{1,0} bitcast(%a)
  %row = f32[1,8]{1,0} slice(%turned), slice={[0:1], [0:8]}
  ROOT %both = (f32[100,4]{1,0}, f32[1,8]{1,0}) tuple(%put, %row)
}

%seen (a: f32[8,16]) -> f32[1,8] {
  %a = f32[8,16]{1,0} parameter(0)
  %turned = f32[16,8]{1,0} bitcast(%a)
  ROOT %row = f32[1,8]{1,0} slice(%turned), slice={[0:1], [0:8]}
}

ENTRY %main (a: f32[8,16], b: f32[16,4], board: f32[100,4], at: s32[8,1]) -> f32[100,4] {
  %a = f32[8,16]{1,0} parameter(0)
  %b = f32[16,4]{1,0} parameter(1)
  %board = f32[100,4]{1,0} parameter(2)
  %at = s32[8,1]{1,0} parameter(3)
  %all = (f32[100,4]{1,0}, f32[1,8]{1,0}) fusion(%a, %b, %board, %at), kind=kInput, calls=%outer
  ROOT %first = f32[1,8]{1,0} fusion(%a), kind=kLoop, calls=%seen
}
"""


def test_fusions_within_fusions_scatters_and_views():
    """Of a scatter what it adds to is read, and written, where it adds; a view's slice is one."""
    both, seen = kernels(parse(FUSED))
    assert both.flop == 2 * 8 * 4 * 16
    assert both.bytes == 4 * (8 * 16 + 16 * 4 + 8 + 2 * 8 * 4 + 8)
    assert seen.bytes == 4 * (8 + 8)


def test_what_does_not_compile_for_a_gpu_is_one_sentence(monkeypatch):
    monkeypatch.setattr(compile_for_gpu, "PLUGINS", ("no-such-plugin",))
    with pytest.raises(ValueError, match="no-such-plugin is not installed.*hopper"):
        compile_for_gpu.device("h100")
    monkeypatch.setattr(compile_for_gpu, "version", lambda name: "0.0.1")
    with pytest.raises(ValueError, match="must be of one version"):
        compile_for_gpu.device("h100")
