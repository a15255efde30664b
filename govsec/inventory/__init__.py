"""Installed packages against vulnerability data that was given as a file, and the list of them as an SBOM."""
