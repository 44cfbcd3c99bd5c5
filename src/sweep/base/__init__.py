"""Tools that know nothing of the field: errors, files, processes, progress."""
