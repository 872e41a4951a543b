"""SenML's units as UCUM codes: which declared unit a SenML unit is, and by what factor.

SenML registers its own names (RFC 8428, section 12.1; secondary units in RFC
8798); metrics are declared with UCUM codes. A unit matches if it is the same,
or if one correctly rounded multiplication or division by an integer takes the
value from one to the other ("Pa" to "kPa": divided by 1000). Nothing else is
converted: Cel to K, say, needs an offset that a double does not hold exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Final


@dataclass(frozen=True, slots=True)
class Factor:
    """value * multiply / divide; at least one of them is 1."""

    multiply: int
    divide: int


SAME: Final = Factor(1, 1)

# SenML unit: (UCUM codes of one unit, how many of that it is). Those that both write alike are not
# listed; prefixes of what is declared are found all the same.
_UNITS: Final[dict[str, tuple[tuple[str, ...], Fraction]]] = {
    "": (("1",), Fraction(1)),  # no unit given
    "kg": (("g",), Fraction(1000)),
    "/": (("1",), Fraction(1)),
    "count": (("1",), Fraction(1)),
    "beats": (("1",), Fraction(1)),
    "%": (("1",), Fraction(1, 100)),
    "%RH": (("1",), Fraction(1, 100)),
    "%EL": (("1",), Fraction(1, 100)),
    "Ohm": (("Ohm",), Fraction(1)),
    "l": (("L", "l"), Fraction(1)),
    "l/s": (("L/s", "l/s"), Fraction(1)),
    "1/s": (("/s", "1/s"), Fraction(1)),
    "1/min": (("/min", "1/min"), Fraction(1)),
    "beat/min": (("/min", "1/min"), Fraction(1)),
    "lat": (("deg",), Fraction(1)),
    "lon": (("deg",), Fraction(1)),
    "pH": (("[pH]",), Fraction(1)),
    "NTU": (("[NTU]",), Fraction(1)),
    "dBW": (("dB[W]",), Fraction(1)),
    "Bspl": (("B[SPL]",), Fraction(1)),
    "VA": (("V.A", "VA"), Fraction(1)),
    "VAs": (("V.A.s", "VAs"), Fraction(1)),
    "B": (("By",), Fraction(1)),
    # secondary units, in those of the registry
    "ms": (("s",), Fraction(1, 1000)),
    "min": (("s",), Fraction(60)),
    "h": (("s",), Fraction(3600)),
    "MHz": (("Hz",), Fraction(10**6)),
    "kW": (("W",), Fraction(1000)),
    "kVA": (("V.A", "VA"), Fraction(1000)),
    "kvar": (("var",), Fraction(1000)),
    "Ah": (("C",), Fraction(3600)),
    "Wh": (("J",), Fraction(3600)),
    "kWh": (("J",), Fraction(3_600_000)),
    "KiB": (("By",), Fraction(1024)),
    "GB": (("By",), Fraction(10**9)),
    "Mbit/s": (("bit/s",), Fraction(10**6)),
    "B/s": (("By/s",), Fraction(1)),
    "MB/s": (("By/s",), Fraction(10**6)),
    "mV": (("V",), Fraction(1, 1000)),
    "mA": (("A",), Fraction(1, 1000)),
    "ug/m3": (("g/m3",), Fraction(1, 10**6)),
    "mm/h": (("m/h",), Fraction(1, 1000)),
    "ppm": (("1",), Fraction(1, 10**6)),
    "/100": (("1",), Fraction(1, 100)),
    "/1000": (("1",), Fraction(1, 1000)),
    "hPa": (("Pa",), Fraction(100)),
    "mm": (("m",), Fraction(1, 1000)),
    "cm": (("m",), Fraction(1, 100)),
    "km": (("m",), Fraction(1000)),
}
_PREFIXES: Final = {
    "G": Fraction(10**9),
    "M": Fraction(10**6),
    "k": Fraction(1000),
    "h": Fraction(100),
    "d": Fraction(1, 10),
    "c": Fraction(1, 100),
    "m": Fraction(1, 1000),
    "u": Fraction(1, 10**6),
    "n": Fraction(1, 10**9),
}
# UCUM codes that are a multiple of another one but not by a prefix.
_DECLARED: Final = {
    ("%", "1"): Fraction(1, 100),
    ("[ppth]", "1"): Fraction(1, 1000),
    ("[ppm]", "1"): Fraction(1, 10**6),
    ("bar", "Pa"): Fraction(10**5),
    ("mbar", "Pa"): Fraction(100),
    ("min", "s"): Fraction(60),
    ("h", "s"): Fraction(3600),
    ("W.h", "J"): Fraction(3600),
    ("kW.h", "J"): Fraction(3_600_000),
    ("A.h", "C"): Fraction(3600),
    ("L", "m3"): Fraction(1, 1000),
    ("l", "m3"): Fraction(1, 1000),
}
_PREFIXABLE: Final = frozenset(
    {"A", "Bq", "By", "By/s", "C", "F", "Gy", "H", "Hz", "J", "L", "L/s", "N", "Ohm", "Pa", "S", "S/m", "Sv"}
    | {
        "T",
        "V",
        "V.A",
        "W",
        "W/m2",
        "Wb",
        "bit",
        "bit/s",
        "cd",
        "g",
        "kat",
        "l",
        "l/s",
        "lm",
        "lx",
        "m",
        "m/h",
    }
    | {"m/s", "m/s2", "mol", "s", "var"}
)


def factor(senml_unit: str, declared: str) -> Factor | None:
    """Return how a value in `senml_unit` becomes one in the UCUM unit `declared`; None: not exactly."""
    if senml_unit == declared:
        return None if senml_unit == "B" else SAME  # a byte here, a bel there
    bases, size = _UNITS.get(senml_unit, ((senml_unit,), Fraction(1)))
    for base in bases:
        scale = _scale(declared, base)
        if scale is not None:
            ratio = size / scale
            if ratio.numerator == 1 or ratio.denominator == 1:
                return Factor(ratio.numerator, ratio.denominator)
    return None


def _scale(declared: str, base: str) -> Fraction | None:
    """Return how many `base` a `declared` is; None if that is not known."""
    if declared == base:
        return Fraction(1)
    if base == "1" and declared.startswith("{") and declared.endswith("}"):
        return Fraction(1)  # UCUM's annotations: a number of something
    known = _DECLARED.get((declared, base))
    if known is not None:
        return known
    return _PREFIXES.get(declared[0]) if declared[1:] == base and base in _PREFIXABLE else None


def ucum_of(senml_unit: str) -> str:
    """Return a UCUM code for a unit that does not match, to show what came; "1" where none was given.

    It may be no code of UCUM's: a unit that is not registered stays as it is.
    """
    bases, size = _UNITS.get(senml_unit, ((senml_unit,), Fraction(1)))
    return bases[0] if size == 1 else senml_unit
