// The windows of one metric, of several sizes: the finest that there is at each time. Pure.

/** How long windows of a size are kept, ms: finer ones only where a chart can show them. */
const KEPT = new Map([[1_000, 10 * 60_000], [10_000, 65 * 60_000], [60_000, 200 * 60_000]]);
const SIZES = [...KEPT.keys()];

export class Series {
  #bySize = new Map(SIZES.map((size) => [size, new Map()]));
  #points = null;

  /** The end of the newest window, Unix ms; 0 without any. */
  end = 0;

  /** The newest of the finest windows; null without any. */
  last = null;

  /** Add a window {start, size, revision, count, min, max, mean, last}, times in ms. An older revision changes nothing. */
  add(window) {
    const windows = this.#bySize.get(window.size);
    const known = windows?.get(window.start);
    if (!windows || (known && known.revision > window.revision)) return;
    windows.set(window.start, window);
    this.#points = null;
    const end = window.start + window.size;
    if (end > this.end || (end === this.end && window.size <= this.last.size)) {
      this.end = end;
      this.last = window;
    }
    this.#forget();
  }

  /** Return the windows that begin at `from` or later, by time, none where a finer one is. */
  points(from) {
    this.#points ??= this.#merge();
    return this.#points.filter((window) => window.start >= from);
  }

  #merge() {
    let merged = [];
    for (const size of SIZES) {
      const finer = merged;
      const coarser = [...this.#bySize.get(size).values()].filter((window) => !covered(window, finer));
      merged = [...finer, ...coarser].sort((a, b) => a.start - b.start);
    }
    return merged;
  }

  #forget() {
    for (const [size, windows] of this.#bySize) {
      for (const start of windows.keys()) {
        if (start < this.end - KEPT.get(size)) windows.delete(start);
      }
    }
  }
}

/** Say whether one of `finer` (by time) begins within `window`. */
function covered(window, finer) {
  let low = 0;
  let high = finer.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (finer[middle].start < window.start) low = middle + 1;
    else high = middle;
  }
  return low < finer.length && finer[low].start < window.start + window.size;
}

/** Return a window of the API's history as one of a series. */
export function fromHistory(row) {
  const { size_ms: size, revision, count, min, max, mean, last } = row;
  return { start: Date.parse(row.window_start), size, revision, count, min, max, mean, last };
}

/** Return a live window as one of a series. */
export function fromLive(row) {
  const { size_ms: size, revision, count, min, max, mean, last } = row;
  return { start: Math.floor(row.start_unix_ns / 1e6), size, revision, count, min, max, mean, last };
}
