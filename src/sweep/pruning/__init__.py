"""Order, drop, curve, and the exact walk along an order."""
