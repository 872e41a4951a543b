// One chart: mean line and min-max band of one metric's windows, in SVG.

import { element, setText, svg } from "./dom.js";
import { clock, number, scaleOf, ticks, timeTicks, words } from "./format.js";

const HEIGHT = 190;
const MARGIN = { top: 8, right: 10, bottom: 22, left: 54 };
const MIN_SPAN_MS = 60_000;

export class Chart {
  #metric;
  #unit;
  #width = 0;
  #points = [];
  #cursor = null; // index of the point that is looked at
  #view = null;

  constructor(metric, unit) {
    this.#metric = metric;
    this.#unit = unit;
    this.#value = element("span", { class: "value" }, "–");
    this.#unitLabel = element("span", { class: "unit" });
    this.#readout = element("figcaption", {});
    this.#svg = svg("svg", { height: HEIGHT, role: "img", tabindex: "0" });
    this.#parts = {
      grid: svg("g", { class: "grid" }),
      band: svg("path", { class: "band" }),
      line: svg("path", { class: "line" }),
      cursor: svg("path", { class: "cursor" }),
      dot: svg("circle", { class: "dot", r: 3.5 }),
    };
    this.#svg.append(...Object.values(this.#parts));
    const title = element("h2", {}, words(metric));
    const head = element("div", { class: "chart-head" }, title, element("p", {}, this.#value, " ", this.#unitLabel));
    this.figure = element("figure", { class: "chart", "data-chart": metric, "data-points": "0" });
    this.figure.append(head, this.#svg, this.#readout);
    this.#listen();
  }

  #value;
  #unitLabel;
  #readout;
  #svg;
  #parts;
  #resize;

  /** Stop watching the page. */
  close() {
    this.#resize.disconnect();
  }

  /** Draw the windows of `series` in the last `spanMs` before `end` (Unix ms). */
  update(series, spanMs, end) {
    this.#view = { series, spanMs, end };
    this.#draw();
  }

  #listen() {
    this.#resize = new ResizeObserver(([entry]) => {
      this.#width = Math.floor(entry.contentRect.width);
      this.#draw();
    });
    this.#resize.observe(this.figure);
    this.#svg.addEventListener("pointermove", (event) => this.#look(this.#nearest(event.offsetX)));
    this.#svg.addEventListener("pointerleave", () => this.#look(null));
    this.#svg.addEventListener("blur", () => this.#look(null));
    this.#svg.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!step || !this.#points.length) return;
      event.preventDefault();
      const from = this.#cursor ?? this.#points.length;
      this.#look(Math.min(this.#points.length - 1, Math.max(0, from + step)));
    });
  }

  #draw() {
    if (!this.#view || this.#width < 120) return;
    const { series, spanMs, end } = this.#view;
    this.#points = series.points(end - spanMs);
    this.figure.dataset.points = this.#points.length;
    if (series.last) this.figure.dataset.last = series.last.last;
    this.#svg.setAttribute("width", this.#width);
    this.#svg.setAttribute("viewBox", `0 0 ${this.#width} ${HEIGHT}`);
    this.#frame = this.#measure(spanMs, end);
    this.#drawGrid();
    this.#drawSeries();
    this.#look(this.#cursor === null ? null : Math.min(this.#cursor, this.#points.length - 1));
  }

  #frame;

  /** Return how times and values become pixels, and the unit that values are shown in. */
  #measure(spanMs, end) {
    const first = this.#points.length ? this.#points[0].start : end - MIN_SPAN_MS;
    const from = Math.max(end - spanMs, Math.min(first, end - MIN_SPAN_MS));
    let low = Math.min(...this.#points.map((point) => point.min));
    let high = Math.max(...this.#points.map((point) => point.max));
    if (!this.#points.length) [low, high] = [0, 1];
    const room = (high - low) * 0.08 || Math.abs(high) * 0.02 || 1;
    const scale = scaleOf(this.#unit, Math.max(Math.abs(low), Math.abs(high)));
    const positive = low >= 0;
    [low, high] = [low - room, high + room];
    if (positive) low = Math.max(0, low);
    const { top, right, bottom, left } = MARGIN;
    const across = (this.#width - left - right) / (end - from);
    const up = (HEIGHT - top - bottom) / (high - low);
    return {
      ...{ from, end, low, high, scale },
      x: (ms) => left + (ms - from) * across,
      y: (value) => HEIGHT - bottom - (value - low) * up,
      at: (pixel) => from + (pixel - left) / across,
    };
  }

  #drawGrid() {
    const { from, end, low, high, scale, x, y } = this.#frame;
    const { left, right, bottom } = MARGIN;
    const made = [];
    const values = ticks(low / scale.divisor, high / scale.divisor, 5);
    for (const value of values.values) {
      const at = y(value * scale.divisor).toFixed(1);
      made.push(svg("path", { d: `M${left} ${at}H${this.#width - right}` }));
      made.push(label(left - 8, at, "end", number(value, values.decimals), "middle"));
    }
    const times = timeTicks(from, end, (this.#width - left - right) / 84);
    for (const time of times.values) {
      const at = x(time);
      if (at > left + 24 && at < this.#width - 24) {
        made.push(label(at, HEIGHT - bottom + 16, "middle", clock(time, times)));
      }
    }
    this.#parts.grid.replaceChildren(...made);
  }

  #drawSeries() {
    const { x, y } = this.#frame;
    let line = "";
    let band = "";
    for (const run of runs(this.#points)) {
      const at = run.map((point) => x(middle(point)).toFixed(1));
      const path = (key) => run.map((point, n) => `${at[n]} ${y(point[key]).toFixed(1)}`);
      line += `M${path("mean").join("L")}${run.length === 1 ? "h0.01" : ""}`;
      band += `M${path("max").join("L")}L${path("min").reverse().join("L")}Z`;
    }
    this.#parts.line.setAttribute("d", line);
    this.#parts.band.setAttribute("d", band);
  }

  /** Say what the point of this index is; null: the newest. */
  #look(index) {
    this.#cursor = index;
    const shown = this.#points[index ?? this.#points.length - 1];
    this.#parts.dot.toggleAttribute("hidden", !shown);
    this.#parts.cursor.setAttribute("d", "");
    if (!shown) {
      setText(this.#readout, "No windows yet.");
      this.#svg.setAttribute("aria-label", `${words(this.#metric)}: no windows yet`);
      return;
    }
    const { scale, x, y } = this.#frame;
    const at = x(middle(shown)).toFixed(1);
    this.#parts.dot.setAttribute("cx", at);
    this.#parts.dot.setAttribute("cy", y(shown.mean).toFixed(1));
    if (index !== null) this.#parts.cursor.setAttribute("d", `M${at} ${MARGIN.top}V${HEIGHT - MARGIN.bottom}`);
    const text = (value) => number(value / scale.divisor);
    const newest = this.#view.series.last ?? shown;
    setText(this.#value, text(newest.last));
    setText(this.#unitLabel, scale.label);
    const parts = [`mean ${text(shown.mean)}`, `min ${text(shown.min)}`, `max ${text(shown.max)}`];
    const of = `${shown.count} in ${shown.size / 1000} s`;
    setText(this.#readout, `${clock(shown.start)} · ${parts.join(" · ")} · ${of}`);
    const name = `${words(this.#metric)}: last ${text(newest.last)} ${scale.label}`;
    this.#svg.setAttribute("aria-label", `${name}; ${parts.join(", ")} at ${clock(shown.start)}`);
  }

  #nearest(pixel) {
    if (!this.#points.length) return null;
    const at = this.#frame.at(pixel);
    let best = 0;
    this.#points.forEach((point, n) => {
      if (Math.abs(middle(point) - at) < Math.abs(middle(this.#points[best]) - at)) best = n;
    });
    return best;
  }
}

const middle = (point) => point.start + point.size / 2;

/**
 * Split points where windows are missing, so that no line is drawn over what is not known.
 * What is rare by nature (a reading every 5 s in windows of 1 s) is not missing.
 */
function runs(points) {
  const usual = median(points.slice(1).map((point, n) => middle(point) - middle(points[n])));
  const found = [];
  let previous = null;
  for (const point of points) {
    const bridged = previous && Math.max(2.5 * point.size, 2.5 * previous.size, 3 * usual);
    if (previous && middle(point) - middle(previous) <= bridged) found.at(-1).push(point);
    else found.push([point]);
    previous = point;
  }
  return found;
}

function median(values) {
  return values.sort((a, b) => a - b)[values.length >> 1] ?? 0;
}

function label(x, y, anchor, text, baseline = "auto") {
  const made = svg("text", { x, y, "text-anchor": anchor, "dominant-baseline": baseline });
  made.textContent = text;
  return made;
}
