// The fleet: counts in the header, and the table of sensors.

import { byId, element, setStatus, setText } from "./dom.js";
import { number, rate } from "./format.js";

const STATUSES = ["live", "pending", "degraded", "rejected", "unreachable", "removing"];

export class FleetView {
  #rows = new Map();
  #sensors = [];
  #sort = { column: "id", descending: false };
  #body = byId("sensors").tBodies[0];

  constructor(open) {
    this.#body.addEventListener("click", (event) => {
      const row = event.target.closest("tr");
      if (row && !event.target.closest("a") && !getSelection().toString()) open(row.dataset.sensor);
    });
    byId("filter").addEventListener("input", () => this.#render());
    for (const header of byId("sensors").tHead.rows[0].cells) {
      header.addEventListener("click", () => this.#sortBy(header.dataset.column));
    }
  }

  /** Show these sensors. */
  update(sensors) {
    this.#sensors = sensors;
    this.#render();
    showCounts(sensors);
  }

  #sortBy(column) {
    this.#sort = { column, descending: this.#sort.column === column && !this.#sort.descending };
    this.#render();
  }

  #render() {
    const wanted = byId("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
    const shown = this.#sensors.filter((sensor) => wanted.every((word) => haystack(sensor).includes(word)));
    shown.sort(comparison(this.#sort));
    this.#showSort();
    const gone = new Set(this.#rows.keys());
    let previous = null;
    for (const sensor of shown) {
      gone.delete(sensor.id);
      const row = this.#rows.get(sensor.id) ?? this.#newRow(sensor);
      fill(row, sensor);
      const next = previous ? previous.nextSibling : this.#body.firstChild;
      if (next !== row) this.#body.insertBefore(row, next);
      previous = row;
    }
    for (const id of gone) {
      this.#rows.get(id).remove();
      this.#rows.delete(id);
    }
    byId("sensors").hidden = this.#sensors.length === 0;
    this.#showEmpty(shown.length);
  }

  #newRow(sensor) {
    const link = element("a", { href: `#sensor=${encodeURIComponent(sensor.id)}` }, sensor.id);
    const row = element(
      "tr",
      { "data-sensor": sensor.id },
      element("th", { scope: "row" }, link),
      element("td", { class: "site" }),
      element("td", { class: "host" }),
      element("td", { class: "metrics" }),
      element("td", {}, element("span", { class: "status" }), element("small", {})),
      element("td", { class: "number" }),
    );
    this.#rows.set(sensor.id, row);
    return row;
  }

  #showSort() {
    for (const header of byId("sensors").tHead.rows[0].cells) {
      const { column, descending } = this.#sort;
      if (header.dataset.column !== column) header.removeAttribute("aria-sort");
      else header.setAttribute("aria-sort", descending ? "descending" : "ascending");
    }
  }

  #showEmpty(shown) {
    const empty = byId("fleet-empty");
    empty.hidden = shown > 0;
    if (this.#sensors.length === 0) setText(empty, "There are no sensors yet. Add one with “gaugeway sensors add”.");
    else setText(empty, "No sensor matches the filter.");
  }
}

function fill(row, sensor) {
  const [, site, host, metrics, status, readings] = row.cells;
  setText(site, sensor.site);
  setText(host, sensor.host);
  setText(metrics, sensor.metrics.join(", "));
  setStatus(status.firstChild, sensor.status);
  setText(status.lastChild, sensor.status === "live" ? "" : sensor.message);
  setText(readings, rate(sensor.readings_per_s));
}

const haystack = (sensor) =>
  [sensor.id, sensor.site, sensor.host, sensor.status, ...sensor.metrics].join(" ").toLowerCase();

function comparison({ column, descending }) {
  const key = { status: (sensor) => STATUSES.indexOf(sensor.status), metrics: (sensor) => sensor.metrics.join() };
  const of = key[column] ?? ((sensor) => sensor[column]);
  const order = (a, b) => (of(a) < of(b) ? -1 : of(a) > of(b) ? 1 : 0);
  const byName = (a, b) => (a.id < b.id ? -1 : 1);
  return (a, b) => (descending ? order(b, a) : order(a, b)) || byName(a, b);
}

function showCounts(sensors) {
  const counts = new Map(STATUSES.map((status) => [status, 0]));
  let readings = 0;
  for (const sensor of sensors) {
    counts.set(sensor.status, counts.get(sensor.status) + 1);
    readings += sensor.readings_per_s;
  }
  const items = [count(sensors.length, sensors.length === 1 ? "sensor" : "sensors")];
  for (const [status, n] of counts) {
    if (n || status === "live") items.push(count(n, status, { "data-status": status, class: "status" }));
  }
  items.push(count(rate(readings), "readings/s"));
  byId("counts").replaceChildren(...items);
}

function count(value, word, attributes = {}) {
  const text = typeof value === "number" ? number(value, 0) : value;
  return element("li", attributes, element("b", {}, text), ` ${word}`);
}
