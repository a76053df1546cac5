"""What the scripts here answer before they import what may not be installed: to --help, and to what they do not know."""
import pathlib
import re
import sys


def answer(doc, least=0, most=0):
    """For -h or --help prints `doc`, the options that the script names, and leaves with 0. Leaves with 2 and a sentence for
    an option that the script's own text does not name, and unless there are `least` to `most` words beside options (most
    None: any number, as where argparse looks at them)."""
    words = sys.argv[1:]
    script = pathlib.Path(sys.argv[0])
    known = sorted(set(re.findall(r"""["'](--[a-z][a-z-]*)["']""", script.read_text(encoding="utf-8"))))
    if any(word in ("-h", "--help") for word in words):
        print(doc.strip())
        if known:
            print("\noptions: " + " ".join(known))
        sys.exit(0)
    for word in words:
        if re.match("-[^0-9]", word) and word.split("=")[0] not in known:
            sys.exit(_refusal(f"unknown option {word}"))
    if most is not None and not least <= sum(word not in known for word in words) <= most:
        sys.exit(_refusal(f"{script.name} takes {least if least == most else f'{least} to {most}'} arguments"))


def _refusal(what):
    print(f"error: {what} (see --help)", file=sys.stderr)
    return 2
