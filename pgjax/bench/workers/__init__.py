"""Stand-alone scripts that train and are timed, each in a process of its own."""
