// Small helpers around the document.

export const byId = (id) => document.getElementById(id);

/** Return a new element with attributes and children (elements or text). */
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

/** Return a new SVG element with attributes. */
export function svg(name, attributes = {}) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

/** Set an element's text if it is another. */
export function setText(target, text) {
  if (target.textContent !== text) target.textContent = text;
}

/** Show a status: the word, and its colour by the attribute data-status. */
export function setStatus(target, status) {
  if (target.dataset.status !== status) {
    target.dataset.status = status;
    target.textContent = status;
  }
}
