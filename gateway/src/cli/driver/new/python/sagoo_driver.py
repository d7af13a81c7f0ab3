"""What the author of a driver in Python uses: `Driver`, `Device`, what can be raised, `log`, `serve`.

Always true: nothing here has to be changed for a new driver. `sagoo_session.py` is the session with the
gateway, `sagoo_plugin.py` the process around it, `contract.py` the messages.
"""

import collections
import datetime
import json
import sys
import time


class Problem(Exception):
    """A mistake in the settings: its place in the TOML, what is wrong, and the remedy."""

    def __init__(self, path, message, hint=""):
        super().__init__(message)
        self.path, self.message, self.hint = path, message, hint


class Unreachable(Exception):
    """The device does not answer."""


class Refused(Exception):
    """The device says no; nothing was changed."""


class Bad:
    """A point that could not be read, and why."""

    def __init__(self, reason):
        self.reason = reason


Table = collections.namedtuple("Table", "name settings connection connection_settings model_settings")


class Device:
    """A device that can be read: its points and its period."""

    def __init__(self, table, points, period_s, writable=(), settings=None):
        self.name, self.connection, self.table = table.name, table.connection, table
        self.points, self.writable, self.period_s = list(points), set(writable), period_s
        self.settings = settings  # whatever the driver makes of the table
        self.due, self.pause_s, self.reason = time.monotonic(), 0, ""
        self.read = self.dropped = 0


class Driver:
    """What an author writes; see main.py."""

    name = version = title = schema = ""
    abilities = ("write",)

    def device(self, table):
        raise NotImplementedError

    def ports(self, connection):
        """TCP ports a connection needs; None: the driver does not say, and is not limited."""
        return None

    def read(self, device):
        raise NotImplementedError

    def write(self, device, point, value):
        raise Refused("this driver writes nothing")

    def close(self, connection):
        pass


def log(level, message, **fields):
    """A line in the gateway's log; level is one of error, warn, info, debug."""
    stamp = datetime.datetime.now(datetime.timezone.utc).isoformat()
    line = {"@level": level, "@message": message, "@timestamp": stamp, **fields}
    sys.stderr.write(json.dumps(line, default=str) + "\n")
    sys.stderr.flush()


def serve(driver):
    """Runs a driver until its gateway ends it."""
    from sagoo_plugin import Plugin

    Plugin(driver).serve()
