"""Our pipelines, a module each. They join the registry by their entry points, as those of other packages do."""
