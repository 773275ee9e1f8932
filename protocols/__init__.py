"""The project's protocols: YAML files, which ``bench run NAME`` finds here wherever it is run."""
