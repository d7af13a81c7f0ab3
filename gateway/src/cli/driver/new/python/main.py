"""The driver __id__. As it is, every device is a wave whose height can be written; put your machine
in its place.

Always true: `device` says everything there is to say about the settings and touches no machine.
"""

import json
import math
import pathlib
import time

from sagoo_driver import Device, Driver, Problem, Refused, serve  # and Unreachable, Bad, log

HERE = pathlib.Path(__file__).parent


class __Type__(Driver):
    def __init__(self):
        info = json.loads((HERE / "info.json").read_text())
        self.name, self.version, self.title = info["name"], info["version"], info["title"]
        self.schema = (HERE / "schema.json").read_text()
        self.heights = {}

    def device(self, table):
        """Settings of one device, its connection and its model -> its points and how often it is read."""
        period_ms = table.settings.get("period_ms", 1000)
        if not isinstance(period_ms, int) or isinstance(period_ms, bool) or period_ms < 10:
            raise Problem(["device", table.name, "period_ms"], f"{period_ms!r} is not a period",
                          "whole milliseconds, at least 10")
        return Device(table, points=["wave", "height"], writable=["height"], period_s=period_ms / 1000)

    def ports(self, connection):
        """TCP ports of your machines; the driver may connect to these and no others."""
        return []

    def read(self, device):
        """All points of a device. Raise `Unreachable` when it does not answer; `Bad(why)` is the value
        of a single point that cannot be read."""
        height = self.heights.get(device.name, 1.0)
        return {"wave": height * math.sin(time.monotonic()), "height": height}

    def write(self, device, point, value):
        """Writes one point; returns what it reads back, or raises `Refused`."""
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            raise Refused(f"{value!r} is not a number")
        self.heights[device.name] = float(value)
        return self.heights[device.name]

    def close(self, connection):
        """Gives a line up: the gateway stops, or another process is to open it."""


if __name__ == "__main__":
    serve(__Type__())
