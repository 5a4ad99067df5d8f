from pgjax._internal.names import unknown_name


def test_the_nearest_are_told_whatever_their_case():
    told = unknown_name("no parameter", "LENGHT", ["length", "gravity"])
    assert told == "no parameter 'LENGHT'; did you mean length?"


def test_all_are_told_where_none_is_near():
    assert unknown_name("no", "x", ["gravity", "mass"]).endswith(
        "there are gravity, mass"
    )
    assert unknown_name("no", "x", []) == "no 'x': there are none"
