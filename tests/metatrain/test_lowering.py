"""The whole meta-step of the published preset, lowered for accelerators that are not here."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import pytest
from jax import export

from metatrain.engine import Engine
from metatrain.presets import PRESETS


def sharing(*envs):
    """`paper`'s lifetimes, all of these environments."""
    return replace(PRESETS["paper"], envs=envs)


@pytest.mark.parametrize(
    ("config", "platform"),
    [
        pytest.param(PRESETS["paper"], "tpu", marks=pytest.mark.slow),
        pytest.param(PRESETS["paper"], "cuda", marks=pytest.mark.slow),
        (sharing("dense"), "cuda"),
    ],
    ids=["paper-tpu", "paper-cuda", "tables-cuda"],
)
def test_published_sizes_lower(config, platform):
    """With the layout and the precision that the rule has there."""
    # As if the device were one of that platform's.
    elsewhere = type("Elsewhere", (Engine,), {"platform": platform})
    engine = elsewhere(config.rule, config, devices=jax.devices()[:1])
    program = export.export(engine.run.function, platforms=[platform])(engine.like(), jnp.int32(1))
    text = program.mlir_module()
    assert program.platforms == (platform,)
    # The LSTM's recurrent product over all rows at once: 960 lifetimes of 64 environments, one more
    # of each as if nothing was earned, and 64 to make them even.
    assert "bf16" in text and "62464x1024xbf16" in text
