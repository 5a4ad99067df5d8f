"""Policies and critics as `Network` values, and what they are made of."""
