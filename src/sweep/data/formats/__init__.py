"""Readers: each finds the arrays of images and labels in what people have."""
