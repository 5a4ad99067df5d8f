"""What a person may choose: read off a signature, its annotations and its docstring."""

from __future__ import annotations

import difflib
import inspect
import re
import types
import typing
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import pgjax.algorithms
from pgjax.app.errors import UsageError
from pgjax.baselines import BASELINES
from pgjax.types import Numeric


class Option(NamedTuple):
    """A setting that a person may choose."""

    type: type  # of one value
    default: Any
    help: str
    choices: tuple[str, ...] = ()
    optional: bool = False  # whether None is a value too
    several: bool = False  # whether it is a tuple of values
    many: bool = False  # whether there may be several of those

    @property
    def kind(self) -> str:
        """The type in words, for messages."""
        name = f"{self.type.__name__}s" if self.several else self.type.__name__
        return f"{name} or none" if self.optional else name


# What Stable-Baselines3, CleanRL, PureJaxRL, Spinning Up and others call a setting.
_MEANT = {
    name: setting
    for setting, names in {
        "learning_rate": "lr pi_lr alpha step_size",
        "anneal_learning_rate": "anneal_lr lr_schedule",
        "adam_epsilon": "eps adam_eps epsilon",
        "max_gradient_norm": "max_grad_norm grad_clip clip_grad_norm gradient_clip",
        "steps": "total_timesteps timesteps num_timesteps max_timesteps total_steps "
        "n_timesteps total_env_steps env_steps",
        "seeds": "num_seeds n_seeds",
        "num_envs": "n_envs num_env nenvs envs num_workers",
        "num_steps": "n_steps nsteps rollout_length rollout_steps horizon "
        "steps_per_epoch",
        "num_epochs": "n_epochs update_epochs epochs noptepochs",
        "num_minibatches": "n_minibatches nminibatches batch_size minibatch_size",
        "entropy_coefficient": "ent_coef ent_coeff entropy_coef entropy_coeff",
        "value_coefficient": "vf_coef value_coef value_loss_coef vf_loss_coeff",
        "lam": "gae_lambda lambda lambda_ td_lambda",
        "gamma": "discount discount_factor",
        "clip": "clip_range clip_eps clip_coef clip_ratio clip_param",
        "value_clip": "clip_range_vf clip_vloss vf_clip_param",
        "target_kl": "kl_target",
        "max_kl": "delta",
        "cg_iterations": "cg_max_steps cg_iters",
        "damping": "cg_damping damping_coeff",
        "max_backtracks": "line_search_max_iter backtrack_iters",
        "normalize_advantage": "norm_adv normalize_adv normalize_advantages",
        "normalize_observations": "norm_obs normalize_obs",
        "scale_rewards": "norm_reward norm_rewards normalize_rewards",
        "hidden": "net_arch hidden_sizes hidden_size hid hidden_dim layers",
        "activation": "activation_fn",
        "env": "env_id env_name environment gym_id task",
        "env_arg": "env_options env_kwargs env_args",
        "env_param": "env_params",
        "time_limit": "max_episode_steps max_ep_len max_episode_length",
        "solved_return": "reward_threshold",
        "eval_episodes": "n_eval_episodes num_eval_episodes",
        "log_every": "log_interval",
        "log": "track wandb tensorboard tensorboard_log logger",
        "out": "output output_dir log_dir logdir save_dir exp_name run_name",
        "quiet": "verbose",
        "algorithm": "algo",
    }.items()
    for name in names.split()
}


def familiar(name: str) -> str:
    """The setting that other libraries call so; the name itself where none does."""
    return _MEANT.get(name, name)


def nearest(name: str, known: Collection[str]) -> str | None:
    """Which name may have been meant by one that is not known."""
    if _MEANT.get(name) in known:
        return _MEANT[name]
    longer = [x for x in known if x.startswith(name)]
    if len(longer) == 1:
        return longer[0]
    return next(iter(difflib.get_close_matches(name, known, n=1)), None)


def algorithm_factory(algorithm: str) -> Callable[..., Any]:
    """The factory of that name in `pgjax.algorithms`."""
    known = pgjax.algorithms.__all__
    if algorithm not in known:
        raise UsageError(
            f"unknown algorithm {algorithm!r}; choose from {', '.join(known)}"
        )
    return getattr(pgjax.algorithms, algorithm)


def algorithm_options(algorithm: str) -> dict[str, Option]:
    """The options of one algorithm: its factory's keyword arguments."""
    return options_of(algorithm_factory(algorithm))


def options_of(factory: Callable[..., Any]) -> dict[str, Option]:
    """The keyword-only arguments that a flag can give, with their help.

    Flags, numbers, names, baselines, and those or None; other arguments keep their
    default. An argument without an annotation has its default's type.
    """
    hints = typing.get_type_hints(factory)
    hints |= typing.get_type_hints(factory.__init__) if inspect.isclass(factory) else {}
    options = {}
    for name, parameter in inspect.signature(factory).parameters.items():
        if parameter.kind is parameter.KEYWORD_ONLY:
            default = parameter.default
            option = _option(hints.get(name, type(default)), default)
            if option is not None:
                options[name] = option._replace(help=_argument_help(factory, name))
    return options


def arguments_of(function: Callable[..., Any]) -> dict[str, tuple[str | None, str]]:
    """The positional arguments of a command, in order.

    How many of each there may be, as argparse has it (None for one that must be given,
    "?" for one or none, "+" or "*" for several), and its help.
    """
    hints = typing.get_type_hints(function)
    found: dict[str, tuple[str | None, str]] = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD:
            needed = parameter.default is parameter.empty
            number: str | None = "+" if needed else "*"
            if hints[name] in (str, str | None):
                number = None if needed else "?"
            found[name] = number, _argument_help(function, name)
    return found


def _option(hint: Any, default: Any) -> Option | None:
    if default in BASELINES.values():
        names = {function: name for name, function in BASELINES.items()}
        return Option(str, names[default], "", tuple(BASELINES))
    optional = False
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        kinds = set(typing.get_args(hint))
        optional = type(None) in kinds
        kinds -= {type(None)}
        hint = float if kinds == set(typing.get_args(Numeric)) else kinds.pop()
    several = many = typing.get_origin(hint) is tuple
    if several:
        hint = typing.get_args(hint)[0]
        many = typing.get_origin(hint) is tuple
        hint = typing.get_args(hint)[0] if many else hint
    if typing.get_origin(hint) is typing.Literal:
        return Option(str, default, "", typing.get_args(hint), optional, several)
    hint = dict if typing.get_origin(hint) is dict else hint
    if hint in (bool, int, float, str, dict):
        return Option(hint, default, "", (), optional, several, many)
    return None


def _argument_help(factory: Callable[..., Any], name: str) -> str:
    """What the docstring's Args section says about an argument."""
    doc = inspect.getdoc(factory) or ""
    section = re.search(r"^Args:\n(.*?)(?=^\S|\Z)", doc, re.M | re.S)
    entry = rf"^( +){name}: (.*?)(?=^\1\**\w+: |\Z)"
    found = re.search(entry, section[1], re.M | re.S) if section else None
    return " ".join(found[2].split()).rstrip(".") if found else ""
