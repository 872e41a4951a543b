"""What SenML names and units are to a sensor's declared metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ext_proc.session.model import Series
from ext_proc.session.verdicts import series_verdicts
from wire.ids import InvalidIdError, check_metric, check_unit
from wire.senml import Quantity
from wire.senml_units import SAME, Factor, factor, ucum_of

_WHOLE_TABLE: Final = 32


class QuantityTable:
    """The quantities of one stream as series of one profile; grows with the stream.

    The metric of a name is what follows its last ':' or '/'. A unit that the
    declared one follows from exactly (wire.senml_units) becomes the declared one.

    Attributes:
        series: (metric, unit) of each series.
        verdicts: The verdict of each series, shape (series,).
        series_of: The series of each quantity, -1 if it is refused, shape (quantities,).
        refusals: Why, by quantity.
    """

    __slots__ = (
        "_divide",
        "_multiply",
        "_places",
        "_scales",
        "_units",
        "refusals",
        "series",
        "series_of",
        "verdicts",
    )

    def __init__(self, units: Mapping[str, str]) -> None:
        self._units = units
        self._places: dict[tuple[str, str], int] = {}
        self._multiply = self._divide = np.empty(0, np.float64)
        self._scales = False
        self.series: Series = ()
        self.verdicts: NDArray[np.uint8] = np.empty(0, np.uint8)
        self.series_of: NDArray[np.int64] = np.empty(0, np.int64)
        self.refusals: dict[int, str] = {}

    @property
    def any_refused(self) -> bool:
        """Say whether any quantity is refused."""
        return bool(self.refusals)

    def extend(self, quantities: Sequence[Quantity]) -> None:
        """Take the quantities that it does not have yet: those after its own."""
        begin = len(self.series_of)
        if begin == len(quantities):
            return
        new = [self._place(begin + nth, quantity) for nth, quantity in enumerate(quantities[begin:])]
        self.series_of = np.append(self.series_of, np.array([place for place, _ in new], np.int64))
        self._multiply = np.append(self._multiply, [float(scale.multiply) for _, scale in new])
        self._divide = np.append(self._divide, [float(scale.divide) for _, scale in new])
        self._scales = self._scales or any(scale != SAME for _, scale in new)
        self.series = tuple(self._places)
        added = self.series[len(self.verdicts) :]
        self.verdicts = np.append(self.verdicts, series_verdicts(added, self._units))

    def used(self, series_index: NDArray[np.int64]) -> tuple[Series, NDArray[np.uint32]]:
        """Return a table that holds what `series_index` points to, and the index into it.

        A table of many series is not delivered whole: each delivery brings its
        own to the journal.
        """
        if len(self.series) <= _WHOLE_TABLE:
            return self.series, series_index.astype(np.uint32)
        places, index = np.unique(series_index, return_inverse=True)
        return tuple(self.series[place] for place in places.tolist()), index.astype(np.uint32)

    def scaled(self, value: NDArray[np.float64], quantity: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return values in the units of their series; each is rounded once, if it is converted."""
        if not self._scales:
            return value
        with np.errstate(over="ignore"):  # an infinity is judged as one
            scaled: NDArray[np.float64] = value * self._multiply[quantity] / self._divide[quantity]
        return scaled

    def _place(self, index: int, quantity: Quantity) -> tuple[int, Factor]:
        """Return a quantity's series and its factor; (-1, SAME) if it is refused."""
        metric = quantity.name[max(quantity.name.rfind(":"), quantity.name.rfind("/")) + 1 :]
        declared = self._units.get(metric)
        scale = factor(quantity.unit, declared) if declared is not None else None
        unit = declared if scale is not None and declared is not None else ucum_of(quantity.unit)
        try:
            series = check_metric(metric), check_unit(unit)
        except InvalidIdError as error:
            self.refusals[index] = f"a {error.field} breaks its rule"
            return -1, SAME
        return self._places.setdefault(series, len(self._places)), scale or SAME
