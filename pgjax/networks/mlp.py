"""Policies and critics as `Network` values; the only file that imports flax.

An algorithm needs two functions, `init(key, obs)` and `apply(params, obs)`, so any
library, or none, can supply a network. These fit every environment that gymnax has:
vectors and images in, or trees of them; choices and continuous actions out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from pgjax._internal.checks import as_count, check_flags, check_is
from pgjax._internal.spaces import spaces_of
from pgjax.distributions import Categorical
from pgjax.networks.encoding import (
    encode,
    encoded,
    encoded_shape,
    flattened,
    is_image,
    side_by_side,
)
from pgjax.networks.heads import action_head
from pgjax.networks.initialization import INITIALIZERS, draw, scales_of
from pgjax.networks.products import layer_product, patches, product
from pgjax.types import (
    Array,
    Discrete,
    Env,
    HostEnv,
    Key,
    Network,
    Obs,
    Params,
)

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "relu": nn.relu,
    "tanh": jnp.tanh,
    "gelu": nn.gelu,
    "silu": nn.silu,
}
HIDDEN_GAIN = math.sqrt(2.0)  # of first parameters, as PPO and A2C usually have them
ACTOR_GAIN = 0.01  # a first policy that is nearly the same in all states
CRITIC_GAIN = 1.0


class MLP(nn.Module):
    """Dense layers of the given widths, the last one linear.

    `features` makes the last layer a hidden one, for a torso. `images` says of each
    part of a tuple of inputs whether it is an image (height, width, channels), 3 x 3 at
    least, which goes through a convolution first: 16 filters of 3 x 3, as in the
    MinAtar paper. Without it, the input is one array of vectors. `last_product` is how
    the last layer multiplies.
    """

    widths: Sequence[int]
    activation: str = "tanh"
    features: bool = False
    images: tuple[bool, ...] = ()
    last_product: Callable[..., Array] = layer_product

    @nn.compact
    def __call__(self, x: Any) -> Array:
        activate = ACTIVATIONS[self.activation]
        if self.images:
            x = self._convolved(x)
        *hidden, last = map(self.layer_name, range(len(self.widths)))
        for width, name in zip(self.widths[:-1], hidden, strict=True):
            x = activate(self._dense(x, width, name))
        if self.features:
            return activate(self._dense(x, self.widths[-1], last))
        return self._dense(x, self.widths[-1], last, self.last_product)

    def shapes(self, x: Any) -> tuple[Params, Array]:
        """Of the parameters, and of the outputs, for inputs like `x`."""
        make = partial(self.init_with_output, jax.random.key(0))
        outputs, params = jax.eval_shape(make, x)
        return params, outputs

    def scales(self, shapes: Params, initializer: str, last_gain: float) -> Params:
        """Of first parameters of these shapes, leaf by leaf; see `initialization`."""
        layers = shapes["params"]
        gains = dict.fromkeys(layers, HIDDEN_GAIN)
        gains[self.layer_name(len(self.widths) - 1)] = last_gain
        return {
            "params": {
                name: scales_of(initializer, layer["kernel"].shape[0], gains[name])
                for name, layer in layers.items()
            }
        }

    @staticmethod
    def layer_name(index: int) -> str:
        """Of a dense layer's parameters."""
        return f"Dense_{index}"

    def _convolved(self, parts: Sequence[Array]) -> Array:
        """Images after their filters, flattened, and all else as it is, in order."""
        activate, vectors = ACTIVATIONS[self.activation], []
        for i, (x, image) in enumerate(zip(parts, self.images, strict=True)):
            if image:
                name = "filters" if sum(self.images) == 1 else f"filters_{i}"
                x = activate(self._dense(patches(x, 3), 16, name))
                x = x.reshape(*x.shape[:-3], -1)
            vectors.append(x)
        return side_by_side(vectors)

    def _dense(
        self,
        x: Array,
        width: int,
        name: str,
        product: Callable[..., Array] = layer_product,
    ) -> Array:
        dense = nn.Dense(width, dot_general=product, name=name)
        with jax.numpy_dtype_promotion("standard"):  # Flax knows no other
            return dense(x)


def linear_softmax_policy(
    env: Env | HostEnv, features: Callable[[Obs], Array] | None = None
) -> Network:
    """Softmax over preferences linear in features: h(s, a) = theta . phi(s, a).

    Args:
      env: whose observation and action spaces the policy serves; discrete actions.
      features: maps observations (..., *obs) to phi(s, a), (..., K, d). Without it, the
        preferences are affine in what `pg.encode` makes of the observation, one weight
        vector and bias per action.

    Returns:
      A network without a critic. Its parameters start at zero: the uniform policy.

    Raises:
      ValueError: if the action space is not discrete, or (from `init`) if the features
        are not one row per action.

    References:
      Sutton and Barto, 2018, eq. 13.2 and 13.3.
    """
    if not isinstance(env.action_space, Discrete):
        raise ValueError(
            f"{env.name} has continuous actions of shape {env.action_space.shape}, but "
            "a softmax policy chooses among discrete ones; use pg.mlp_policy"
        )
    num_actions = env.action_space.n

    def affine(obs: Obs) -> Array:
        flat = encode(env.observation_space, obs)
        state = jnp.concatenate([flat, jnp.ones_like(flat[..., :1])], axis=-1)
        # phi(s, a): the state's features in action a's block, zeros in the others.
        eye = jnp.eye(num_actions)
        blocks = jnp.einsum("ab,...d->...abd", eye, state, precision="highest")
        return blocks.reshape(*state.shape[:-1], num_actions, -1)

    phi = features or affine

    def init(key: Key, obs: Obs) -> Params:
        del key
        shape = jax.eval_shape(phi, obs).shape
        if len(shape) < 2 or shape[-2] != num_actions:
            raise ValueError(
                f"features must be (..., {num_actions} actions, d), got {shape}"
            )
        return {"theta": jnp.zeros(shape[-1])}

    def apply(params: Params, obs: Obs) -> tuple[Categorical, None]:
        return Categorical(product(phi(obs), params["theta"])), None

    return Network(init, apply)


def mlp_policy(
    env: Env | HostEnv,
    hidden: Sequence[int] = (128,),
    *,
    activation: str = "relu",
    initializer: str = "torch",
    log_std: float = 0.0,
    state_dependent_std: bool = False,
) -> Network:
    """A policy network without a critic; by default the article's, 4 -> 128 ReLU -> 2.

    Its input is what `pg.encode` says, with a convolution for images; so it is of
    `actor_critic`.

    Args:
      env: whose observation and action spaces the policy serves.
      hidden: widths of the hidden layers.
      activation: "relu", "tanh", "gelu" or "silu".
      initializer: "torch" or "orthogonal"; see `pgjax.networks.initialization`.
      log_std: see `action_head`; for continuous actions.
      state_dependent_std: see `action_head`.

    Raises:
      ValueError: if a name is unknown, or a width not positive.
    """
    check_is(Env | HostEnv, 'pg.make_env("CartPole-v1")', env=env)
    head = action_head(env, log_std=log_std, state_dependent_std=state_dependent_std)
    prepare, images = _observations(env)
    layers = _layers(hidden, activation, initializer)
    actor = layers(
        (*hidden, head.num_outputs), last_product=head.last_product, images=images
    )

    def init(key: Key, obs: Obs) -> Params:
        shapes, _ = actor.shapes(prepare(obs))
        scales = actor.scales(shapes, initializer, ACTOR_GAIN)
        drawn = draw(key, {"actor": shapes}, {"actor": scales}, initializer)
        return drawn | head.init()

    def apply(params: Params, obs: Obs) -> tuple[Any, None]:
        outputs = actor.apply(params["actor"], prepare(obs, dtype=_dtype(params)))
        return head.distribution(params, outputs), None

    return Network(init, apply)


def actor_critic(
    env: Env | HostEnv,
    hidden: Sequence[int] = (64, 64),
    *,
    activation: str = "tanh",
    initializer: str = "orthogonal",
    shared_torso: bool = False,
    log_std: float = 0.0,
    state_dependent_std: bool = False,
) -> Network:
    """An actor pi(a | s) and a critic V(s): two networks, or one with two heads.

    What they make of observations is as for `mlp_policy`.

    Args:
      env: whose observation and action spaces the policy serves.
      hidden: widths of the hidden layers, of either network.
      activation: "relu", "tanh", "gelu" or "silu".
      initializer: "torch" or "orthogonal"; see `pgjax.networks.initialization`.
      shared_torso: whether actor and critic share all but their last layers: half the
        work, and features that serve both. TRPO needs them apart.
      log_std: see `action_head`; for continuous actions.
      state_dependent_std: see `action_head`.

    Raises:
      ValueError: if a name is unknown, or a shared torso has no hidden layer.

    References:
      Huang et al., The 37 Implementation Details of PPO, 2022, details 2 and 13.
    """
    check_is(Env | HostEnv, 'pg.make_env("CartPole-v1")', env=env)
    head = action_head(env, log_std=log_std, state_dependent_std=state_dependent_std)
    prepare, images = _observations(env)
    layers = _layers(hidden, activation, initializer)
    check_flags(shared_torso=shared_torso)
    if shared_torso:
        if not hidden:
            raise ValueError("a shared torso needs a hidden layer")
        torso = layers(hidden, features=True, images=images)
        hidden, images = (), ()  # the heads' input are the torso's features
    actor = layers(
        (*hidden, head.num_outputs), last_product=head.last_product, images=images
    )
    critic = layers((*hidden, 1), images=images)
    gains = {"torso": HIDDEN_GAIN, "actor": ACTOR_GAIN, "critic": CRITIC_GAIN}

    def init(key: Key, obs: Obs) -> Params:
        x, shapes = prepare(obs), {}
        parts = {"actor": actor, "critic": critic}
        if shared_torso:
            shapes["torso"], x = torso.shapes(x)
            parts["torso"] = torso
        shapes |= {"actor": actor.shapes(x)[0], "critic": critic.shapes(x)[0]}
        scales = {
            name: part.scales(shapes[name], initializer, gains[name])
            for name, part in parts.items()
        }
        return draw(key, shapes, scales, initializer) | head.init()

    def apply(params: Params, obs: Obs) -> tuple[Any, Array]:
        x = prepare(obs, dtype=_dtype(params))
        if shared_torso:
            x = torso.apply(params["torso"], x)
        outputs = actor.apply(params["actor"], x)
        value = critic.apply(params["critic"], x)
        return head.distribution(params, outputs), jnp.squeeze(value, axis=-1)

    return Network(init, apply)


def at_precision(network: Network, dtype: str) -> Network:
    """The network with its arithmetic in another type, such as "bfloat16".

    Parameters stay float32, and so does what comes out: log-probs and values are
    computed from rounded outputs, but not themselves rounded. Observations are rounded
    where they are floats; bytes, choices and flags come as they are.

    Args:
      network: any.
      dtype: a floating type's name; "float32" changes nothing.

    Raises:
      ValueError: if there is no such type, or it is no floating one.
    """
    try:
        floating = jnp.issubdtype(jnp.dtype(dtype), jnp.floating)
    except (TypeError, ValueError, SyntaxError):  # NumPy parses what it is given
        floating = False
    if not floating:
        raise ValueError(f"dtype must be a floating type, got {dtype!r}")
    if jax.dtypes.canonicalize_dtype(dtype) != jnp.dtype(dtype):
        raise ValueError(f"JAX computes in {dtype} only with jax_enable_x64")
    if dtype == "float32":
        return network

    def cast(tree: Any, dtype: Any) -> Any:
        return jax.tree.map(lambda x: jnp.asarray(x, dtype), tree)

    def rounded(x: Any) -> Array:
        floating = jnp.issubdtype(jnp.result_type(x), jnp.floating)
        return jnp.asarray(x, dtype) if floating else jnp.asarray(x)

    def apply(params: Params, obs: Obs) -> Any:
        obs = jax.tree.map(rounded, obs)
        outputs = network.apply(cast(params, dtype), obs)
        return cast(outputs, jnp.float32)

    return Network(network.init, apply)


def _layers(
    hidden: Sequence[int], activation: str, initializer: str
) -> Callable[..., MLP]:
    """`MLP` with these settings.

    Raises:
      ValueError: if a name is unknown, or a width is no positive number.
    """
    try:
        if not isinstance(hidden, Sequence):
            raise TypeError
        for width in hidden:
            as_count("a width", width)
    except (TypeError, ValueError):
        raise ValueError(
            f"hidden must be positive widths, such as (64, 64), got {hidden}"
        ) from None
    for what, name, known in (
        ("activation", activation, ACTIVATIONS),
        ("initializer", initializer, INITIALIZERS),
    ):
        if name not in known:
            raise ValueError(f"unknown {what} {name!r}; known are {', '.join(known)}")
    return partial(MLP, activation=activation)


def _observations(
    env: Env | HostEnv,
) -> tuple[Callable[..., Any], tuple[bool, ...]]:
    """What makes observations an `MLP`'s input, and which of its parts are images."""
    space = env.observation_space
    images = tuple(map(is_image, spaces_of(space)))
    if not any(images):
        return partial(encode, space), ()
    shapes = list(map(encoded_shape, spaces_of(space)))

    def prepare(obs: Obs, dtype: Any = None) -> tuple[Array, ...]:
        parts = zip(encoded(space, obs, dtype=dtype), shapes, images, strict=True)
        return tuple(x if image else flattened(x, shape) for x, shape, image in parts)

    return prepare, images


def _dtype(params: Params) -> Any:
    """The type that a network's parameters, all of one, compute in."""
    return jax.tree.leaves(params)[0].dtype
