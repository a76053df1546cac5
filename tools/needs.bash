# For scripts that read options, sourced in the root of the project: `needs "$@"` before an option's value is taken.
needs() { # an option and what follows it
  if [ -z "${2:-}" ] || [[ $2 == --* ]]; then
    echo "error: $1 needs a value (see --help)" >&2
    exit 2
  fi
}
