"""The driver, alone and with a gateway that is only a test: /usr/bin/python3 -m unittest"""

import json
import os
import pathlib
import queue
import subprocess
import sys
import tempfile
import time
import unittest

PACKAGE = pathlib.Path(__file__).parent / "package"
sys.path.insert(0, str(PACKAGE))
sys.dont_write_bytecode = True

import grpc

import contract
from main import __Type__
from sagoo_driver import Problem, Refused, Table

WAIT_S = 20


def table(settings):
    return Table("one", settings, "here", {}, {})


class Settings(unittest.TestCase):
    def test_a_device_has_its_points(self):
        device = __Type__().device(table({"period_ms": 50}))
        self.assertEqual(device.points, ["wave", "height"])
        self.assertEqual(set(__Type__().read(device)), {"wave", "height"})

    def test_a_height_may_be_a_whole_number(self):
        driver, device = __Type__(), __Type__().device(table({}))
        self.assertEqual(driver.write(device, "height", 2), 2.0)
        self.assertIsInstance(driver.read(device)["height"], float)
        for wrong in (True, "2"):
            with self.assertRaises(Refused):
                driver.write(device, "height", wrong)

    def test_a_mistake_is_told_with_its_place(self):
        with self.assertRaises(Problem) as told:
            __Type__().device(table({"period_ms": 1}))
        self.assertEqual(told.exception.path, ["device", "one", "period_ms"])

    def test_the_package_has_an_info_and_a_schema(self):
        self.assertEqual(json.loads((PACKAGE / "info.json").read_text())["name"], "__id__")
        self.assertIsInstance(json.loads(__Type__().schema), dict)


class WithAGateway(unittest.TestCase):
    """The process as the gateway runs it, without TLS."""

    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        env = {k: v for k, v in os.environ.items() if not k.startswith("PLUGIN_")}
        env.update(SAGOO_EDGE_PLUGIN="sagoo_edge_driver", PLUGIN_UNIX_SOCKET_DIR=self.folder.name)
        self.process = subprocess.Popen([sys.executable, "-B", str(PACKAGE / "main.py")], env=env,
                                        stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline().strip().split("|")
        self.assertEqual(line[:3] + line[4:], ["1", "1", "unix", "grpc", ""])
        self.channel = grpc.insecure_channel("unix:" + line[3])
        self.asked = queue.Queue()
        self.session = self.open()

    def tearDown(self):
        self.channel.close()
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.folder.cleanup()

    def method(self, name, request, response, kind="unary_unary"):
        return getattr(self.channel, kind)(f"/sagoo.driver.v1.Driver/{name}", request.SerializeToString,
                                           response.FromString)

    def open(self):
        self.asked = asked = queue.Queue()
        requests = iter(asked.get, None)
        stream = self.method("Session", contract.HostMessage, contract.DriverMessage, "stream_stream")
        return stream(requests, timeout=WAIT_S)

    def ask(self, **message):
        self.asked.put(contract.HostMessage(**message))

    def next(self, kind):
        for message in self.session:
            if message.WhichOneof("message") == kind:
                return getattr(message, kind)
        self.fail(f"the session ended without {kind}")

    def configure(self, generation=1, hold=(), devices=("one",)):
        configuration = contract.Configuration(
            connections=[contract.Connection(name="here", settings="{}")],
            devices=[contract.Device(name=name, connection="here", settings='{"period_ms": 10}')
                     for name in devices])
        self.ask(configure=contract.Configure(generation=generation, configuration=configuration, hold=hold))
        return self.next("configured")

    def command(self, ident, value, seconds=10):
        deadline = time.clock_gettime_ns(time.CLOCK_BOOTTIME) + int(seconds * 1e9)
        write = contract.Write(values=[contract.PointValue(point="height", value=contract.Value(double=value))])
        self.ask(command=contract.Command(id=ident, deadline_boot_ns=deadline, device="one", write=write))
        return self.next("command_result")

    def test_it_says_who_it_is_and_checks(self):
        described = self.method("Describe", contract.DescribeRequest, contract.DescribeResponse)(
            contract.DescribeRequest(), timeout=WAIT_S)
        self.assertEqual(described.name, "__id__")
        configuration = contract.Configuration(
            connections=[contract.Connection(name="here", settings="{}")],
            devices=[contract.Device(name="one", connection="here", settings='{"period_ms": 1}')])
        checked = self.method("Check", contract.CheckRequest, contract.CheckResponse)(
            contract.CheckRequest(configuration=configuration), timeout=WAIT_S)
        self.assertEqual(list(checked.problems[0].path), ["device", "one", "period_ms"])
        self.assertTrue(checked.HasField("rights"))

    def test_samples_come_until_acknowledged(self):
        self.next("hello")
        self.assertEqual(list(self.configure().devices[0].writable), [False, True])
        first = [self.next("batch") for _ in range(3)]
        self.assertEqual([batch.seq for batch in first], [1, 2, 3])
        self.assertEqual(first[0].devices[0].count, 2)
        self.ask(ack=contract.Ack(seq=2))
        self.command("after the ack", 1.5)  # they are heard in order
        self.session = self.open()  # takes the place of the first
        self.next("hello")
        self.configure(generation=7)
        again = self.next("batch")
        self.assertEqual((again.seq, again.generation), (3, 7))

    def test_a_device_keeps_its_number(self):
        self.next("hello")
        numbers = {d.device: d.number for d in self.configure(devices=("one", "two")).devices}
        again = {d.device: d.number for d in self.configure(2, devices=("two", "three")).devices}
        self.assertEqual(again["two"], numbers["two"])
        self.assertNotIn(again["three"], numbers.values())

    def test_a_command_is_executed_once_and_not_after_its_deadline(self):
        self.next("hello")
        self.configure()
        self.assertEqual(self.command("a", 2.5).status, contract.APPLIED)
        self.assertEqual(self.command("b", 7.5, seconds=-1).status, contract.EXPIRED)
        self.assertEqual(self.command("a", 9.5).points[0].value.double, 2.5)
        while self.next("batch").devices[0].doubles[1] != 2.5:
            pass

    def test_a_released_line_is_quiet_until_it_is_configured_again(self):
        self.next("hello")
        self.configure()
        self.ask(release=contract.Release())
        self.assertEqual(list(self.next("released").connections), ["here"])
        self.assertEqual(self.next("heartbeat").overdue_ms, 0)
        self.configure(generation=2)
        self.next("batch")
        self.ask(stop=contract.Stop())
        self.next("released")
        self.assertEqual([m for m in self.session if m.WhichOneof("message") == "released"], [])


if __name__ == "__main__":
    unittest.main()
