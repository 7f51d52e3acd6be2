"""A gymnax environment made fit for agents, and tried before anyone spends hours in it.

Agents read one array: dictionaries and tuples of arrays are flattened, images get their planes
first. What cannot work is refused in a sentence that names the method and what it should return.
"""

from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from lpg import instance
from lpg.observation import highest, one_array
from lpg.own import imported, is_import_path

NEEDED = ("default_params", "num_actions", "reset_env", "step_env", "is_truncated")
NOT_AVAILABLE = {"MNISTBandit-bsuite": "downloads data while it runs"}


class Adapter:
    """An environment as rollouts want it; what it says of instances of itself stays as it is."""

    def __init__(self, env: Any, params: Any):
        self.env = env
        self.num_actions: int = int(env.num_actions)
        space = observation_space(env, params)
        self.num_states: int = num_states(env, space)
        # Boards of bytes that are 0 or 1 are near one already.
        self._byte = 255 if highest(space) > 1 else 1

    def __getattr__(self, name: str) -> Any:
        if name in instance.OPTIONAL:
            return getattr(self.env, name)
        raise AttributeError(f"{type(self).__name__} has no {name!r}")

    def reset_env(self, key: Array, params: Any) -> tuple[Array, Any]:
        """The environment's own reset."""
        observation, state = self.env.reset_env(key, params)
        return one_array(observation, self._byte), state

    def step_env(
        self, key: Array, state: Any, action: Array, params: Any
    ) -> tuple[Array, Any, Any, Any, Any]:
        """The environment's own step, without autoreset."""
        observation, state, reward, terminated, info = self.env.step_env(key, state, action, params)
        return one_array(observation, self._byte), state, reward, terminated, info

    def is_truncated(self, state: Any, params: Any) -> Array:
        """The environment's own time limit."""
        return self.env.is_truncated(state, params)

    def least_limit(self, params: Any) -> int:
        """The environment's own word; else the limit in its `params`, where gymnax's own method
        keeps to it and these are every life's; 1 where nobody knows."""
        if hasattr(self.env, "least_limit"):
            return int(self.env.least_limit(params))
        from gymnax.environments.environment import Environment  # takes seconds

        kept = getattr(type(self.env), "is_truncated", None) is Environment.is_truncated
        if instance.has_instances(self.env) or not kept:
            return 1
        return int(np.min(params.max_steps_in_episode))


def find(name: str, known: tuple[str, ...] = ()) -> tuple[Adapter, Any]:
    """The environment of gymnax's id or of the class at 'package.module:Class', and its params.

    Raises ValueError for names that are neither, with close matches among them and those `known`
    otherwise; for classes that cannot be imported; and for environments that cannot be lived in.
    """
    if is_import_path(name):
        needed = "a gymnax Environment class that is built without arguments"
        env = imported(name, "an environment", needed, NEEDED)
        return adapted(name, env, env.default_params), env.default_params
    import gymnax  # takes seconds

    if name in NOT_AVAILABLE:
        raise ValueError(f"{name} {NOT_AVAILABLE[name]}; take another environment.")
    if name not in gymnax.registered_envs:
        names = tuple(dict.fromkeys((*known, *gymnax.registered_envs)))
        close = get_close_matches(name, names, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(close)}?" if close else f"known are {', '.join(names)}."
        raise ValueError(
            f"Unknown environment {name!r}; {hint} Your own is named as package.module:Class."
        )
    env, params = gymnax.make(name)
    return adapted(name, env, params), params


def adapted(name: str, env: Any, params: Any) -> Adapter:
    """`env`, called `name` in errors, for rollouts; ValueError for one that cannot be lived in."""
    _refuse_continuous(name, env, params)
    refuse_unlivable(name, env, params)
    return Adapter(env, params)


def observation_space(env: Any, params: Any) -> Any:
    """The environment's own; None where it has none."""
    space = getattr(env, "observation_space", None)
    try:
        return None if space is None else space(params)
    except NotImplementedError:  # gymnax's base class
        return None


def num_states(env: Any, space: Any) -> int:
    """Rows of a table that holds every observation: `env.num_states`, or n where the environment's
    space of observations is gymnax's Discrete(n); 0 where observations are no state indices."""
    if instance.num_states(env):
        return instance.num_states(env)
    from gymnax.environments.spaces import Discrete  # takes seconds

    return int(space.n) if isinstance(space, Discrete) else 0


def _refuse_continuous(name: str, env: Any, params: Any) -> None:
    from gymnax.environments.spaces import Discrete  # takes seconds

    space = env.action_space(params) if hasattr(env, "action_space") else None
    if space is not None and not isinstance(space, Discrete):
        raise ValueError(
            f"{name} has continuous actions ({type(space).__name__}), which these rules cannot "
            "take; choose an environment with discrete actions."
        )


@dataclass(frozen=True)
class _Trial:
    """Methods of the environment called `name`, traced; ValueError in a sentence."""

    name: str

    def traced(self, method: str, call: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return jax.eval_shape(call, *arguments)
        except Exception as error:
            said = str(error).strip().split("\n")[0]
            raise ValueError(
                f"{self.name} cannot be used: its {method} raised {type(error).__name__}: {said}"
            ) from error

    def want(self, holds: bool, method: str, found: str, wanted: str) -> None:
        if not holds:
            sentence = f"its {method} returns {found}; return {wanted}."
            raise ValueError(f"{self.name} cannot be used: {sentence}")


def refuse_unlivable(name: str, env: Any, params: Any) -> None:
    """Trace an instance, a reset, a step and a time limit, without running any of them.

    Raises ValueError, one sentence, for what raises and for what comes out in another form than
    rollouts need.
    """
    trial, key = _Trial(name), jax.eval_shape(lambda: jax.random.key(0))
    own = trial.traced("sample_params", lambda k: instance.sample_params(env, k, params), key)
    born = trial.traced("reset_env", env.reset_env, key, own)
    trial.want(_is_tuple(born, 2), "reset_env", _form(born), "an observation and a state")
    first, state = born
    trial.want(jax.tree.leaves(first) != [], "reset_env", "no observation", "an array")
    action = jax.ShapeDtypeStruct((), jnp.int32)
    moved = trial.traced("step_env", env.step_env, key, state, action, own)
    five = "an observation, a state, a reward, whether the episode has ended, and a dictionary"
    trial.want(_is_tuple(moved, 5), "step_env", _form(moved), five)
    observation, after, reward, terminated, _ = moved
    for what, one, other in (("observation", first, observation), ("state", state, after)):
        found = f"the {what} {_form(other)}, reset_env {_form(one)}"
        trial.want(_form(one) == _form(other), "step_env", found, "the same from both")
    trial.want(_is_scalar(reward), "step_env", f"the reward {_form(reward)}", "a scalar")
    truncated = trial.traced("is_truncated", env.is_truncated, after, own)
    for method, end in (("step_env", terminated), ("is_truncated", truncated)):
        found = f"whether the episode has ended as {_form(end)}"
        trial.want(_is_scalar(end), method, found, "a scalar bool")
    mask = trial.traced("action_mask", lambda p: instance.action_mask(env, p), own)
    shape = f"bool[{int(env.num_actions)}]"
    trial.want(_form(mask) == shape, "action_mask", _form(mask), shape)


def _is_tuple(x: Any, length: int) -> bool:
    return isinstance(x, tuple) and len(x) == length


def _is_scalar(x: Any) -> bool:
    return getattr(x, "shape", None) == ()


def _form(x: Any) -> str:
    """Of arrays their dtype and shape, as float32[4]; of trees those of their leaves by name."""
    leaves = jax.tree.leaves_with_path(x)
    named = [(jax.tree_util.keystr(path), f"{v.dtype}{list(v.shape)}") for path, v in leaves]
    return ", ".join(f"{path}: {form}" if path else form for path, form in named[:6]) + (
        f" and {len(named) - 6} more" if len(named) > 6 else ""
    )
