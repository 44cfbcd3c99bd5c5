"""The attacks: each puts its trigger on images, and says how a network is poisoned with it."""
