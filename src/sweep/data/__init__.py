"""Image sets: read, checked and streamed."""
