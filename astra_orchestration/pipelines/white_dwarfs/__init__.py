"""What pipelines of white dwarfs share: grids of model spectra, and the fit of Balmer lines with them."""
