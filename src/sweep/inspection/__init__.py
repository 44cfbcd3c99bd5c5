"""Whether a network seems backdoored, and for which class, from clean images or from none."""
