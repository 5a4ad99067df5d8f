"""The `pgjax` command: files, screens, processes. The library knows nothing of it."""
