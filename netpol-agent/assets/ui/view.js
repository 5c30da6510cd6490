// Words and parts that several views use.

import { h } from "./vendor/preact.js";
import htm from "./vendor/htm.js";

// Text in a template becomes text nodes and attributes, never HTML.
export const html = htm.bind(h);

// Each verdict has a word and a sign of its own: colour alone tells nobody who cannot see it.
const SIGNS = { forwarded: "✓", dropped: "✕", audit: "!" };

export function verdict(name, word = name) {
  return html`<span class=${`verdict ${name}`}><span aria-hidden="true">${SIGNS[name]}</span> ${word}</span>`;
}

export function nameOfParty(party) {
  if (!party) return "–";
  const { namespace, pod, service, node, address, port } = party;
  const host = pod ? `${namespace}/${pod}`
    : service ? `service:${service.namespace}/${service.name}`
    : node ? `node:${node}`
    : address.includes(":") && port ? `[${address}]` : address;
  return port ? `${host}:${port}` : host;
}

export function nameOfNode({ kind, namespace, name }) {
  return namespace ? `${namespace}/${name}` : name;
}

// What explain takes for an end of a record.
export function wordsForParty(party) {
  return party.pod ? `${party.namespace}/${party.pod}`
    : party.service ? `service:${party.service.namespace}/${party.service.name}`
    : party.node ? `node:${party.node}` : party.address;
}

export function count(number, word) {
  return `${number} ${word}${number === 1 ? "" : "s"}`;
}
