"""FERRE: its grids of models, its files, and fits by it. The program itself is installed by the operator."""
