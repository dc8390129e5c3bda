"""Running pipelines: what is due, the call that analyses it, and the writing of what it gives."""
