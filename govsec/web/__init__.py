"""Asking other machines: addresses checked where they are used, one deadline, verified TLS, one HTTP request."""
