"""Run the command line: `python -m codegen_async`."""

from codegen_async.cli import main

main()
