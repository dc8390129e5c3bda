"""Tables of the bound database: making them, moving them to a new release, comparing them with the models."""
