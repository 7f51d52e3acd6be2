"""A line of metrics.jsonl as TensorBoard's scalars."""

from itertools import product
from typing import Any

import numpy as np

from envs.suite import normalised_return
from metatrain.config import MetaTrainConfig

Scalars = list[tuple[str, float]]  # tag and value


def scalars(record: dict[str, Any], config: MetaTrainConfig) -> Scalars:
    """All numbers of the line, returns on one scale for all environments, and the bandit's
    probabilities by the names of its arms."""
    found = [(k, v) for k, v in record.items() if isinstance(v, (int, float))]
    found += [(f"loss/{k}", v) for k, v in record["loss"].items()]
    found += _of_environments(record["environments"], "")
    for field in ("return", "late_return"):
        found += _normalised(record["environments"], field, config)
    found += _of_bandits(record["environments"], config)
    if "validation" in record:
        found.append(("validation/score", record["validation"]["score"]))
        found += _of_environments(record["validation"]["environments"], "validation_")
    return [(tag, float(v)) for tag, v in found if v is not None and tag != "meta_step"]


def _of_environments(environments: dict[str, Any], prefix: str) -> Scalars:
    found = []
    for name, values in environments.items():
        found += [
            (f"{prefix}{field}/{name}", float(value))
            for field, value in values.items()
            if isinstance(value, (int, float))
        ]
    return found


def _normalised(environments: dict[str, Any], field: str, config: MetaTrainConfig) -> Scalars:
    """From a random policy (0) to the best there is (1), where an environment's are known and it
    has finished episodes; and the mean of these."""
    found = {}
    for name, values in environments.items():
        row, value = config.row(name), values[field]
        if value is not None and None not in (row.random_return, row.best_return):
            found[name] = normalised_return(row, value)
    if not found:
        return []
    each = [(f"normalised_{field}/{name}", value) for name, value in found.items()]
    return [(f"normalised_{field}/mean", float(np.mean([*found.values()]))), *each]


def _of_bandits(environments: dict[str, Any], config: MetaTrainConfig) -> Scalars:
    """With which probability each arm is chosen for a newborn."""
    found = []
    for name, values in environments.items():
        row = config.row(name)
        arms = product(row.learning_rates, row.prediction_costs)
        for (rate, cost), probability in zip(arms, values["bandit"], strict=True):
            found.append((f"bandit_{name}/lr_{rate:g}_alpha_y_{cost:g}", probability))
    return found
