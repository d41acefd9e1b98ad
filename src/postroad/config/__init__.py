"""Configuration: TOML and environment → frozen settings, or a list of mistakes with file and line."""

from postroad.config.load import ConfigMistake, load
from postroad.config.values import Config, ListenerSettings

__all__ = ["Config", "ConfigMistake", "ListenerSettings", "load"]
