"""Settings under a name, by algorithm; a flag given by hand overrides them."""

_ARTICLE = {
    "env": "CartPole-v1",
    "time_limit_terminates": True,  # "the episode's end"
    "num_envs": 4,  # complete episodes per update
    "hidden": (128,),
    "activation": "relu",
    "initializer": "torch",
    "learning_rate": 0.01,
    "gamma": 0.99,
    "reduction": "sum",
    "solved_return": 450.0,
    "stop_when_solved": True,
    "steps": 400_000,
}

PRESETS: dict[str, dict[str, dict]] = {
    "reinforce": {
        "default": {"baseline": "leave_one_out"},
        "article": _ARTICLE | {"baseline": "none"},
        "article-baseline": _ARTICLE | {"baseline": "mean"},
    },
}
