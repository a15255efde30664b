"""The command line: arguments, progress and printing only, one module a topic."""
