"""Runnable studies and their recorded results; see each file's first lines."""
