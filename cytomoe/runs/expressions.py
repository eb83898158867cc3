"""Files of a run as the model sees them: markers transformed piece by piece, the scale judged by the whole file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cytomoe.errors import InputError
from cytomoe.runs.events import Events
from cytomoe.twins import SharedEvents

if TYPE_CHECKING:
    from cytomoe.io.raw_events import RawEvents
    from cytomoe.preprocessing import NanPolicy, Preprocessor

NotNumbers = dict[str, dict[str, tuple[int, int]]]  # file, channel: NaN and infinite values
# Events by which it is judged whether the values of a large file were transformed already.
PREVIEW_EVENTS = 20_000


class Preview:
    """What a large file's scale is judged by, gathered while its pieces go by.

    Parameters
    ----------
    n_events
        Events of the file.
    """

    def __init__(self, n_events: int) -> None:
        self._step = max(1, n_events // PREVIEW_EVENTS)
        self._done = 0
        self._parts: list[NDArray[Any]] = []
        self._highest: NDArray[Any] | None = None
        self._last: RawEvents | None = None

    def add(self, raw: RawEvents) -> None:
        """Look at the next piece."""
        values = np.asarray(raw.X)
        highest = values.max(axis=0, initial=-np.inf)
        if not np.isfinite(highest).all():
            highest = np.max(values, axis=0, initial=-np.inf, where=np.isfinite(values))
        self._highest = highest if self._highest is None else np.maximum(self._highest, highest)
        self._parts.append(values[-self._done % self._step :: self._step].copy())
        self._done += len(values)
        self._last = raw

    def raw(self) -> RawEvents:
        """Some ``PREVIEW_EVENTS`` events spread over the file and, as the last, its greatest values of all channels."""
        from cytomoe.io.raw_events import RawEvents

        assert self._last is not None  # a file has at least one piece, maybe empty
        assert self._highest is not None
        values = np.concatenate([*self._parts, self._highest[None].astype(self._parts[0].dtype)])
        return RawEvents(values, var=self._last.var, uns=self._last.uns)


def expressions(
    events: Events,
    index: int,
    preprocessor: Preprocessor,
    nan: NanPolicy,
    not_numbers: NotNumbers,
    shared: SharedEvents | None = None,
) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """Transformed marker values of a file, piece by piece: the rows of the run that a piece is, and its values.

    The scale of a large file is judged when its last piece has gone by, so that it is read once. Values that are not
    numbers are treated as ``nan`` says, and counted in ``not_numbers`` unless they are refused. ``shared`` looks at
    each piece.

    Raises
    ------
    InputError
        As :meth:`cytomoe.preprocessing.Preprocessor.expression` does of the whole file.
    """
    if events.held:
        for rows, raw in events.chunks(index):
            if shared is not None:
                shared.look(index, raw)
            _count_not_numbers(events.names[index], preprocessor, raw, nan, not_numbers)
            yield rows, preprocessor.expression(raw, nan=nan)
        return
    preview = Preview(events.sizes[index])
    for rows, raw in events.chunks(index):
        preview.add(raw)
        if shared is not None:
            shared.look(index, raw)
        _count_not_numbers(events.names[index], preprocessor, raw, nan, not_numbers)
        try:
            expression = preprocessor.expression(raw, judge_scale=False, nan=nan)
        except InputError:
            preprocessor.expression(events.read(index))  # raises, and counts the values over the whole file
            raise
        yield rows, expression
    preprocessor.refuse_other_scale(preview.raw())


def _count_not_numbers(
    name: str, preprocessor: Preprocessor, raw: RawEvents, nan: NanPolicy, not_numbers: NotNumbers
) -> None:
    """Add what a piece of a file holds to the counts."""
    found = {} if nan == "refuse" else preprocessor.not_numbers(raw)
    for channel, (n_nan, n_infinite) in found.items():
        before = not_numbers.setdefault(name, {}).get(channel, (0, 0))
        not_numbers[name][channel] = (before[0] + n_nan, before[1] + n_infinite)
