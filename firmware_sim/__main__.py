"""`python -m firmware_sim`."""

from firmware_sim.commands import app

if __name__ == "__main__":
    app(prog_name="python -m firmware_sim")
