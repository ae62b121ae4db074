"""The `ecluse` command's entry: `ecluse …` or `python -m gateway …`."""

from __future__ import annotations

from gateway.cli.main import main

if __name__ == "__main__":
    main()
