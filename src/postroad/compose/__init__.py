"""From the configuration to the settings of each room: a module a theme, one function a room, and nothing else."""
