"""The vocabulary: the NamedTuples and type aliases every other file speaks in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn, Protocol

import jax

Array = jax.Array
Key = jax.Array  # a typed key, as made by `jax.random.key`
Params = Any  # a pytree of arrays
Obs = Any  # an array (N, ...), or a pytree of them: a dict, a tuple, a NamedTuple
Numeric = jax.Array | float  # a float that may be a tracer, so that `vmap` can sweep it
AxisName = str | None  # of the devices that share an agent's environments, if any do
Metrics = dict[str, jax.Array]  # scalars, reduced on the device


class Discrete(NamedTuple):
    """The space {0, ..., n - 1}."""

    n: int

    @property
    def shape(self) -> tuple[int, ...]:
        return ()

    # So that `env.action_space.low` can be written, and checked by a type checker,
    # without asking first which kind of space it is; likewise `Box.n`.
    @property
    def low(self) -> NoReturn:
        raise AttributeError("a Discrete space has no low, only n; a Box has one")

    @property
    def high(self) -> NoReturn:
        raise AttributeError("a Discrete space has no high, only n; a Box has one")


class Box(NamedTuple):
    """The arrays of one shape between `low` and `high`, elementwise."""

    low: Any
    high: Any
    shape: tuple[int, ...]

    @property
    def n(self) -> NoReturn:
        raise AttributeError(
            f"a Box has no n, as it is continuous; its shape is {self.shape}"
        )


Space = Discrete | Box


class Distribution(Protocol):
    """What a policy returns: a batch of distributions over actions, itself a pytree.

    For a batch shape B and an event shape E (empty for discrete actions), actions are
    B + E and every other result is B.
    """

    def sample(self, key: Key) -> Array: ...
    def log_prob(self, action: Array) -> Array: ...
    def entropy(self) -> Array: ...
    def kl(self, other: Any) -> Array: ...
    def mode(self) -> Array: ...


class Transition(NamedTuple):
    """What N environments lived through in T steps: time first, environments second."""

    obs: Obs  # (T, N, ...) what the policy saw; of a tree, each leaf
    action: Array  # (T, N, ...) as sampled, before any clipping to the action space
    log_prob: Array  # (T, N) of `action`, under the policy that chose it
    reward: Array  # (T, N)
    terminated: Array  # (T, N) bool: the episode ended in a terminal state
    truncated: Array  # (T, N) bool: the episode was cut, by a time limit
    next_obs: Obs  # (T, N, ...) the observation *before* any auto-reset
    weight: Array  # (T, N) 1 for a step that counts, 0 for padding


class Episodes(NamedTuple):
    """The episodes that ended in a rollout, marked at the step where each one ended."""

    finished: Array  # (T, N) bool: an episode that counts ended at this step
    returns: Array  # (T, N) undiscounted sum of rewards, this step included
    lengths: Array  # (T, N) int32 number of steps, this step included


class AlgorithmState(Protocol):
    """What an algorithm owns and `update` changes: any pytree of arrays with `params`.

    `params` is what `policy(params, obs)` acts by, as a field or a property. Everything
    else is the algorithm's own business. A wrapper's state is (the inner algorithm's,
    its own), with such a property; so wrappers nest in any order.
    """

    @property
    def params(self) -> Params: ...


class Learner(NamedTuple):
    """The state of an algorithm with a network and an optimizer, and nothing else."""

    params: Params
    opt_state: Any


class TrainState(NamedTuple):
    """Everything a run is: continuing from a saved one gives the same bits."""

    learner: AlgorithmState
    rollout_state: Any  # environments, observations and running episode sums
    recent_returns: Array  # (100,) returns of the last finished episodes, newest first
    num_episodes: Array  # () uint32, finished so far; at most 2^32 - 1
    num_updates: Array  # () uint32, likewise
    key: Key


PolicyFn = Callable[[Params, Obs], Any]  # (params, obs) -> Distribution


class Network(NamedTuple):
    """A pair of pure functions, from flax or from anywhere else.

    `apply` returns the action distribution and the state value V(s); the value is
    `None` for a network that has no critic. Observations may have any leading axes.
    """

    init: Callable[[Key, Obs], Params]
    apply: Callable[[Params, Obs], tuple[Any, Any]]


class Algorithm(NamedTuple):
    """To pgjax what a `GradientTransformation` is to optax: pure functions, in a tuple.

    Its state, any `AlgorithmState`, is passed in and out. For a network and an
    optimizer, `Learner` is one.

    `complete_episodes` says that `update` needs every episode whole, from its first
    step to its last; `train` then refuses rollouts that cut them at a horizon.

    `sums_over_devices` says that `update` is right where an agent's environments are
    split over devices. There it is given `axis_name=` (nowhere else: its default must
    be None), and hands it to all that reduces over environments: `pg.total`,
    `pg.weighted_mean`, `pg.mean_weights`, `pg.sum_over_samples`, and likewise
    `pg.estimate_advantages`, `pg.fisher_vector_product` and `pg.trust_region`'s update.
    These are for numbers, not for what is differentiated: each device takes the
    gradient of its own samples' share of a loss, and `pg.sum_over_samples` adds the
    shares up. (JAX would add up a gradient through a sum over devices once more.)
    Without the declaration, `train` refuses a mesh that splits environments.
    """

    init: Callable[[Key, Obs], AlgorithmState]
    update: Callable[..., tuple[AlgorithmState, Metrics]]  # (key, state, batch)
    policy: PolicyFn
    complete_episodes: bool = False
    sums_over_devices: bool = False


class Env(NamedTuple):
    """N environments behind three pure, batched functions; every leaf leads with N.

    `step` returns what happened *before* any reset: the observation and the state the
    action led to, the reward, and the two flags. Resetting is the rollout's business.

    An observation is one array, or a pytree of them, such as a dict; each leaf leads
    with N, and may be of any type (images of uint8 stay that). `observation_space` is
    then a tree of the same structure, with a `Space` in place of each array.
    """

    name: str
    reset: Callable[[Key, int], tuple[Obs, Any]]  # (key, N) -> obs, state
    step: Callable[[Key, Any, Array], tuple[Obs, Any, Array, Array, Array]]
    observation_space: Any  # a Space, or a tree of them like the observations
    action_space: Space
    max_steps: int  # the time limit, in steps
    # Maps parameters by name to such an environment: set by `pg.make_env`.
    with_params: Any = None


class Simulators(Protocol):
    """N environments on the host, with arrays of NumPy; what `HostEnv.make` returns.

    None of them resets by itself: `step` says what an action led to.
    """

    def start(self, seeds: Any) -> Any:
        """Begins an episode in each, from (N,) uint32 seeds: observations (N, ...).

        The same seeds, and the same actions after them, give the same experience.
        """

    def restart(self, which: Any) -> Any:
        """Begins another episode where `which`, (N,) bool, is true.

        Returns observations (N, ...), of which those rows are looked at.
        """

    def step(self, which: Any, action: Any) -> tuple[Any, Any, Any, Any]:
        """Steps those that (N,) `which` says, by actions (N, ...).

        Returns observations (N, ...), rewards, terminated and truncated, (N,) each, of
        which those rows are looked at.
        """

    def close(self) -> None:
        """Frees what they hold; called once."""


class HostEnv(NamedTuple):
    """An environment that lives on the host: a simulator that is no JAX program.

    `pg.unroll`, `pg.episodes`, `pg.evaluate` and the networks take it as they take an
    `Env`; what is compiled cannot step it.
    """

    name: str
    make: Callable[[int], Simulators]  # N -> that many of them
    obs: Any  # of one of them, `jax.ShapeDtypeStruct` leaves
    observation_space: Any  # a Space, or a tree of them like the observations
    action_space: Space
    max_steps: int  # the time limit, in steps


class Rollout(NamedTuple):
    """A way to gather experience; see `pgjax.rollout`.

    `collect` maps (key, policy, params, state) to the next state, the transitions and
    the episodes that ended in them. `collect_then` takes a function of transitions and
    episodes as well and returns the next state and its result, whose shapes must not
    depend on T: it may hand over fewer steps than there is room for in the worst case.
    Without it, `collect` serves.

    `splits_over_devices` says that `init`, `collect` and `collect_then` take
    `axis_name=`, None by default, and give a device's share of the environments.
    Without it, `train` refuses a mesh that splits them.

    `close` is there where the environments live on the host: it ends their processes,
    or frees their memory. Then `init` is a pure function as ever, and `collect` is one
    of concrete arrays, that nothing compiles.
    """

    init: Callable[..., Any]  # (key)
    collect: Callable[..., tuple[Any, Transition, Episodes]]
    observe: Callable[[Key], Obs]  # example observations, (N, ...)
    complete_episodes: bool
    collect_then: Callable[..., tuple[Any, Any]] | None = None
    splits_over_devices: bool = False
    close: Callable[[], None] | None = None

    @property
    def on_host(self) -> bool:
        """Whether the environments live on the host."""
        return self.close is not None
