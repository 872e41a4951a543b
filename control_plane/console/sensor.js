// One sensor: what is known of it, and a live chart for each metric.

import { Feed, sayState } from "./api.js";
import { Chart } from "./chart.js";
import { byId, element, setStatus, setText } from "./dom.js";
import { clock, dateTime, rate } from "./format.js";
import { fromHistory, fromLive, Series } from "./series.js";

const MINUTE = 60_000;
const RANGES = [[5 * MINUTE, "5 min"], [30 * MINUTE, "30 min"], [180 * MINUTE, "3 h"]];
const HISTORY = [["60s", "3h"], ["10s", "1h"]];
const DETAILS_MS = 5_000;

export class SensorView {
  #api;
  #id;
  #onRefused;
  #closed = new AbortController();
  #metrics = new Map(); // name -> {series, chart}
  #span = RANGES[0][0];
  #feed = null;
  #hasHistory = true;
  #timer;
  #drawing = false;

  constructor(api, id, onRefused) {
    this.#api = api;
    this.#id = id;
    this.#onRefused = onRefused;
    setText(byId("sensor-title"), id);
    setStatus(byId("sensor-status"), "pending");
    setText(byId("sensor-status"), "");
    setText(byId("sensor-message"), "");
    byId("sensor-facts").replaceChildren();
    byId("charts").replaceChildren();
    this.#showRanges();
    byId("sensor-title").focus();
    this.#refresh();
    this.#timer = setInterval(() => this.#refresh(), DETAILS_MS);
  }

  close() {
    this.#closed.abort();
    clearInterval(this.#timer);
    this.pause();
    for (const { chart } of this.#metrics.values()) chart.close();
  }

  /** Take what the fleet's stream says of all sensors. */
  update(sensors) {
    const sensor = sensors.find((each) => each.id === this.#id);
    if (!sensor) {
      setStatus(byId("sensor-status"), "removing");
      setText(byId("sensor-status"), "gone");
      setText(byId("sensor-message"), "There is no such sensor, or no longer.");
      this.pause();
      return;
    }
    setStatus(byId("sensor-status"), sensor.status);
    setText(byId("sensor-message"), sensor.message);
    const readings = document.querySelector("#sensor-facts [data-fact=readings]");
    if (readings) setText(readings, `${rate(sensor.readings_per_s)}/s`);
  }

  /** Stop following windows, as while nobody looks. */
  pause() {
    this.#feed?.stop();
    this.#feed = null;
  }

  /** Follow windows. */
  resume() {
    if (this.#feed || !this.#metrics.size || this.#closed.signal.aborted) return;
    this.#feed = new Feed(this.#api, `/v1/live/windows?sensor=${encodeURIComponent(this.#id)}`, {
      event: (_, data) => this.#take(data.windows),
      state: (state, detail) => {
        setText(byId("sensor-feed"), sayState(state, detail));
        if (state === "refused" && detail.status === 401) this.#onRefused(detail);
        if (state === "live") this.#seed(); // also after a break: what was missed is in the history
      },
    });
  }

  async #refresh() {
    let sensor;
    try {
      sensor = await this.#api.get(`/v1/sensors/${encodeURIComponent(this.#id)}`, this.#closed.signal);
    } catch {
      return; // the fleet's stream says what is wrong
    }
    showFacts(sensor);
    if (this.#metrics.size) return;
    for (const { name, unit } of sensor.metrics) {
      const chart = new Chart(name, unit);
      this.#metrics.set(name, { series: new Series(), chart });
      byId("charts").append(chart.figure);
    }
    this.#draw();
    this.resume();
  }

  async #seed() {
    for (const name of this.#metrics.keys()) {
      for (const [size, since] of HISTORY) {
        if (this.#hasHistory) await this.#seedMetric(name, size, since);
      }
    }
  }

  async #seedMetric(name, size, since) {
    const query = new URLSearchParams({ metric: name, size, since });
    try {
      const path = `/v1/sensors/${encodeURIComponent(this.#id)}/windows?${query}`;
      const { windows } = await this.#api.get(path, this.#closed.signal);
      for (const row of windows) this.#metrics.get(name).series.add(fromHistory(row));
      this.#draw();
    } catch (error) {
      this.#hasHistory = error.status !== 404; // else not now: live windows will do
    }
  }

  #take(windows) {
    for (const row of windows) this.#metrics.get(row.metric)?.series.add(fromLive(row));
    this.#draw();
  }

  #draw() {
    if (this.#drawing) return;
    this.#drawing = true;
    requestAnimationFrame(() => {
      this.#drawing = false;
      if (this.#closed.signal.aborted) return;
      const all = [...this.#metrics.values()];
      const end = Math.max(...all.map(({ series }) => series.end)) || Date.now();
      for (const { series, chart } of all) chart.update(series, this.#span, end);
    });
  }

  #showRanges() {
    const options = RANGES.map(([span, text]) => {
      const input = element("input", { type: "radio", name: "span" });
      input.checked = span === this.#span;
      input.addEventListener("change", () => {
        this.#span = span;
        this.#draw();
      });
      return element("label", {}, input, element("span", {}, text));
    });
    byId("ranges").replaceChildren(byId("ranges").firstElementChild, ...options);
  }
}

function showFacts(sensor) {
  const { stream, endpoint, vm, last_failure: failure } = sensor;
  const seen = stream?.last_reading_unix_ns ? clock(stream.last_reading_unix_ns / 1e6) : "–";
  const facts = [
    ["Site", sensor.site],
    ["Host", sensor.host],
    ["VM", vm ? vm.state : "–"],
    ["Endpoint", endpoint ? `${endpoint.address}:${endpoint.port}` : "–"],
    ["Worker", sensor.node ?? "–"],
    ["Stream", stream ? stream.state : "–"],
    ["Readings", `${rate(stream?.readings_per_s ?? 0)}/s`, "readings"],
    ["Last reading", seen],
    ["Journalled to", stream ? `seq ${stream.committed_seq}` : "–"],
    ["Added", dateTime(sensor.created_at)],
    ["Last failure", failure ? `${dateTime(failure.at)}: ${failure.reason}` : "–"],
  ];
  const made = facts.map(([name, text, fact]) => {
    const value = element("dd", fact ? { "data-fact": fact } : {}, text);
    return element("div", {}, element("dt", {}, name), value);
  });
  byId("sensor-facts").replaceChildren(...made);
}
