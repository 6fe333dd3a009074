"""Limits that find themselves: how many exchanges a cluster bears."""
