"""Networks: loaded from untrusted files, read as graphs, changed."""
