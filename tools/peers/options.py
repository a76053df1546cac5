"""What the peers say of a mistake on their command line: one sentence, and exit code 2."""
import argparse
import sys


def refusal(what):
    print(f"error: {what} (see --help)", file=sys.stderr)
    return 2


class Parser(argparse.ArgumentParser):
    """Shows a script's own text, and leaves with one sentence where argparse would print its usage too."""

    def __init__(self, text):
        super().__init__(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)

    def error(self, message):
        sys.exit(refusal(message))


def check_steps(parser, o, warm_up):
    """Of a peer that trains: --steps, --rows and --micro-batch go together."""
    if o.steps <= warm_up:
        parser.error(f"--steps must be above {warm_up}: the first {warm_up} are warm-up")
    if o.rows % o.micro_batch:
        parser.error("--rows must be a multiple of --micro-batch")
