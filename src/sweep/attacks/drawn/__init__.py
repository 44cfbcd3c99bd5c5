"""Drawn photographs of people."""
