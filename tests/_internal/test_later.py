import sys

from pgjax._internal.later import imported_later


def test_a_module_is_imported_at_its_first_use():
    sys.modules.pop("colorsys", None)
    with imported_later("colorsys", "sys"):  # sys is there already
        import colorsys
    assert "colorsys" not in sys.modules
    assert colorsys.rgb_to_hsv(0.5, 0.5, 0.5) == (0.0, 0.0, 0.5)
    assert "colorsys" in sys.modules
