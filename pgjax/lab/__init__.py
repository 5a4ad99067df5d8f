"""The host side: files, screens and processes. The core knows nothing of it."""
