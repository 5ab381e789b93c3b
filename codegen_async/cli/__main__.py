"""Run the command line: `python -m codegen_async.cli`."""

from codegen_async.cli import main

main()
