"""The log as a file: written whole by several processes, read and followed by `postroad log`."""
