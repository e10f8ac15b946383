"""Run the testsuite's fuzzing client, in less time: `python quick.py SPEC MESSAGES`.

Every case runs, with every size of message; those that send a thousand messages send MESSAGES.
Reports are JSON alone, and a client that is stopped reports what it did until then.
This is Python 2.7, run inside the testsuite's own environment.
"""

# mypy: ignore-errors

import json
import sys

import autobahntestsuite.wstest  # noqa: F401 (it chooses the reactor, so it comes first)
from autobahntestsuite import case, fuzzing
from twisted.internet import reactor


class Client(fuzzing.FuzzingClientFactory):
    written = False

    def createReports(self):
        self.written = True
        fuzzing.FuzzingClientFactory.createReports(self, produceHtml=False)

    def stop(self):
        if not self.written:
            self.createReports()


def shorten(messages):
    for each in case.Cases:
        if hasattr(each, "COUNT"):
            each.COUNT = messages


def main(spec, messages):
    shorten(messages)
    with open(spec) as file:
        client = Client(json.load(file))
    # Twisted turns SIGTERM and SIGINT into a shutdown.
    reactor.addSystemEventTrigger("before", "shutdown", client.stop)
    reactor.run()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
