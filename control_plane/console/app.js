// The page: which view is shown, and the fleet's event stream behind all of them.

import { Api, Feed, sayState } from "./api.js";
import { byId, setText } from "./dom.js";
import { FleetView } from "./fleet.js";
import { SensorView } from "./sensor.js";

const TOKEN_KEY = "gaugeway.token";

let api = null;
let feed = null;
let sensors = null; // what the fleet's stream said last
let sensorView = null;

const fleetView = new FleetView((id) => {
  location.hash = `sensor=${encodeURIComponent(id)}`;
});

/** Take the token out of the URL, so that it stays in no history; return the rest of the fragment. */
function readFragment() {
  const fragment = new URLSearchParams(location.hash.slice(1));
  const token = fragment.get("token");
  if (token !== null) {
    sessionStorage.setItem(TOKEN_KEY, token);
    fragment.delete("token");
    const rest = fragment.toString();
    history.replaceState(null, "", rest ? `#${rest}` : location.pathname);
    api = null;
  }
  return fragment;
}

function show(id) {
  for (const section of ["sign-in", "fleet", "sensor"]) byId(section).hidden = section !== id;
}

/** Show what the fragment names. */
function route() {
  const fragment = readFragment();
  const token = sessionStorage.getItem(TOKEN_KEY);
  if (!token) return askForToken();
  if (!api) {
    api = new Api(token);
    follow();
  }
  const id = fragment.get("sensor");
  show(id ? "sensor" : "fleet");
  sensorView?.close();
  sensorView = id ? new SensorView(api, id, refused) : null;
  if (sensors) sensorView?.update(sensors);
  document.title = id ? `${id} · Gaugeway` : "Gaugeway";
}

function follow() {
  feed?.stop();
  feed = new Feed(api, "/v1/live/sensors", {
    event: (_, data) => {
      sensors = data.sensors;
      fleetView.update(sensors);
      sensorView?.update(sensors);
    },
    state: (state, detail) => {
      byId("connection").dataset.state = state;
      setText(byId("connection"), state === "live" ? "connected" : sayState(state, detail));
      if (state === "refused") refused(detail);
    },
  });
}

function refused(error) {
  if (error.status !== 401) return;
  sessionStorage.removeItem(TOKEN_KEY);
  askForToken(error.message);
}

function askForToken(message = "") {
  feed?.stop();
  sensorView?.close();
  [api, feed, sensors, sensorView] = [null, null, null, null];
  byId("counts").replaceChildren();
  setText(byId("connection"), "");
  delete byId("connection").dataset.state;
  setText(byId("sign-in-message"), message);
  byId("sign-in-message").hidden = !message;
  show("sign-in");
  byId("token").focus();
}

byId("sign-in-form").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(TOKEN_KEY, byId("token").value.trim());
  byId("token").value = "";
  api = null;
  route();
});

window.addEventListener("hashchange", route);

// A browser allows few connections to a server: a tab that nobody looks at keeps none open.
document.addEventListener("visibilitychange", () => {
  if (!api) return;
  if (document.hidden) {
    feed?.stop();
    feed = null;
    sensorView?.pause();
  } else {
    follow();
    sensorView?.resume();
  }
});

route();
