"""Sources of motion, one file each; the registry finds every file of this folder."""
