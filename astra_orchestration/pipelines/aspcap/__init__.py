"""ASPCAP: stellar parameters and abundances by fits of model spectra with FERRE."""
