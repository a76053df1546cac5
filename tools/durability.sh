#!/usr/bin/env bash
# Builds test_durability and runs all of its cases (about 20 minutes on two cores), and writes the table of what was done
# to tests/durability/summary.md.
#   tools/durability.sh [--filter PATTERN] [--quick]
# --filter   only tests whose name matches, as for GoogleTest's --gtest_filter; the committed table stays as it is
# --quick    the few cases of the fast tier; the committed table stays as it is
set -euo pipefail
cd "$(dirname "$0")/.."

filter='*'
quick=no
. tools/needs.bash
while [ $# -gt 0 ]; do
  case "$1" in
    --filter) needs "$@"; filter=$2; shift ;;
    --quick) quick=yes ;;
    -h | --help) sed -n '2,6s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) echo "error: unknown option $1 (see --help)" >&2; exit 2 ;;
  esac
  shift
done
tools/build.sh cpu test_durability
if [ "$quick" = no ]; then
  export RLCPP_TEST_LONG=1
  [ "$filter" = '*' ] && export RLCPP_DURABILITY_SUMMARY=$PWD/tests/durability/summary.md
fi
exec build/cpu/tests/test_durability --gtest_brief=1 --gtest_filter="$filter"
