"""Opening a file that an attacker made: what it holds is read and checked, never run."""
