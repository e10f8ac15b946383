"""Run the testsuite's fuzzing client or server, in less time: `python quick.py SPEC MESSAGES`.

A SPEC that names servers makes a client, one with a `url` of its own makes a server.

Every case runs, with every size of message; those that send a thousand messages send MESSAGES.
Reports are JSON alone, and what is stopped reports what it did until then.
This is Python 2.7, run inside the testsuite's own environment.
"""

# mypy: ignore-errors

import json
import sys

import autobahntestsuite.wstest  # noqa: F401 (it chooses the reactor, so it comes first)
from autobahn.twisted.websocket import listenWS
from autobahntestsuite import case, fuzzing
from twisted.internet import reactor


class Reporting:
    written = False

    def createReports(self):
        self.written = True
        fuzzing.FuzzingFactory.createReports(self, produceHtml=False)

    def stop(self):
        if not self.written:
            self.createReports()


class Client(Reporting, fuzzing.FuzzingClientFactory):
    pass


class Server(Reporting, fuzzing.FuzzingServerFactory):
    def __init__(self, spec):
        fuzzing.FuzzingServerFactory.__init__(self, spec)
        listenWS(self)


def shorten(messages):
    for each in case.Cases:
        if hasattr(each, "COUNT"):
            each.COUNT = messages


def main(spec, messages):
    shorten(messages)
    with open(spec) as file:
        content = json.load(file)
    fuzzer = (Client if "servers" in content else Server)(content)
    # Twisted turns SIGTERM and SIGINT into a shutdown.
    reactor.addSystemEventTrigger("before", "shutdown", fuzzer.stop)
    reactor.run()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
