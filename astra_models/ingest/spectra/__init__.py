"""Files of the spectra of one star."""
