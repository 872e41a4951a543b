// Numbers, units and times as people read them. Pure.

const UNITS = {
  Cel: "°C", "[degF]": "°F", "%": "%", By: "B", "By/s": "B/s", 1: "", "m/s2": "m/s²", "mm[Hg]": "mmHg",
};
const SCALED = new Set(["By", "By/s"]);
const SCALES = [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]];

/** Return {divisor, label}: how to show values of a UCUM unit that are about as large as `magnitude`. */
export function scaleOf(unit, magnitude) {
  const name = UNITS[unit] ?? unit;
  if (SCALED.has(unit)) {
    for (const [divisor, prefix] of SCALES) {
      if (magnitude >= divisor) return { divisor, label: prefix + name };
    }
  }
  return { divisor: 1, label: name };
}

const plain = new Intl.NumberFormat("en", { maximumSignificantDigits: 4 });

/** Return a number with as many digits as mean something, or `decimals` after the point. */
export function number(value, decimals) {
  if (!Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (size !== 0 && (size >= 1e9 || size < 1e-4)) return value.toExponential(2);
  if (decimals === undefined && size >= 1000) return Math.round(value).toLocaleString("en");
  if (decimals === undefined) return plain.format(value);
  return value.toLocaleString("en", { minimumFractionDigits: decimals, maximumFractionDigits: decimals });
}

/** Return a rate of readings: one digit after the point below 100. */
export function rate(value) {
  return number(value, value < 100 ? 1 : 0);
}

const pad = (value) => String(value).padStart(2, "0");

/** Return the local time of day of Unix milliseconds. */
export function clock(ms, { seconds = true } = {}) {
  const at = new Date(ms);
  const text = `${pad(at.getHours())}:${pad(at.getMinutes())}`;
  return seconds ? `${text}:${pad(at.getSeconds())}` : text;
}

/** Return local date and time of an RFC 3339 text. */
export function dateTime(text) {
  const at = new Date(text);
  return `${at.getFullYear()}-${pad(at.getMonth() + 1)}-${pad(at.getDate())} ${clock(at.getTime())}`;
}

/** Return a metric's name as words. */
export const words = (metric) => metric.replaceAll("_", " ");

/** Return up to about `count` round numbers within [low, high]. */
export function ticks(low, high, count) {
  const rough = (high - low) / Math.max(1, count);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((candidate) => candidate >= rough);
  const decimals = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  const values = [];
  for (let n = Math.ceil(low / step - 1e-9); n * step <= high + step * 1e-9; n += 1) values.push(n * step || 0);
  return { values, decimals };
}

const TIME_STEPS_S = [5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21600, 86400];

/** Return times within [from, to] (Unix ms) that are whole steps of local time, at most `count`. */
export function timeTicks(from, to, count) {
  const wanted = (to - from) / 1000 / Math.max(1, count);
  const step = (TIME_STEPS_S.find((seconds) => seconds >= wanted) ?? TIME_STEPS_S.at(-1)) * 1000;
  const offset = new Date(from).getTimezoneOffset() * 60_000;
  const values = [];
  for (let at = Math.ceil((from - offset) / step) * step + offset; at <= to; at += step) values.push(at);
  return { values, seconds: step < 60_000 };
}
