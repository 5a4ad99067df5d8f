"""Environments as `Env` values; each file imports one suite, when it is asked for."""
