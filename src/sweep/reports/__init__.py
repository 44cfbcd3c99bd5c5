"""Tables, plots and pages; they return text and figures and log nothing."""
