"""What is said of damaged records."""

from __future__ import annotations

from gateway.journal.salvage import Damage, add_damage

WHY = "checksum does not match"


def test_damages_that_go_on_from_each_other_are_one() -> None:
    """One line in the log for a page that rots, with the sum of its uplinks."""
    damages: list[Damage] = []
    for damage in (Damage(3, 3, WHY, 4), Damage(4, 6, WHY, 2), Damage(8, 8, WHY, 1)):
        add_damage(damages, damage)
    assert damages == [Damage(3, 6, WHY, 6), Damage(8, 8, WHY, 1)]


def test_what_tells_its_uplinks_is_not_joined_to_what_does_not() -> None:
    """Else seven uplinks would stand for records of which nobody knows how many they held."""
    damages: list[Damage] = []
    for damage in (Damage(70, 72, WHY), Damage(73, 73, WHY, 7)):
        add_damage(damages, damage)
    assert damages == [Damage(70, 72, WHY), Damage(73, 73, WHY, 7)]


def test_a_known_damage_is_left_out() -> None:
    """The journal is read more than once."""
    damages = [Damage(3, 6, WHY, 6)]
    add_damage(damages, Damage(4, 5, WHY, 2))
    assert damages == [Damage(3, 6, WHY, 6)]
