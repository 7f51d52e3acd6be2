"""The training environments of Learned Policy Gradient, as gymnax environments.

`gymnax.make` knows them by name once this package is imported.
"""

from envs.registration import register
from envs.suite import SUITE, make, stack

__all__ = ["SUITE", "make", "stack"]

register()
