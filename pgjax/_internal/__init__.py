"""What no user imports: checks, control flow under vmap, devices, XLA's flags."""
