// Why can A not reach B? As `netpolctl explain`: what the policies say, and whether the maps in the kernel say the same.

import { change, explain, showPolicy, state } from "./state.js";
import { html, verdict } from "./view.js";

const WORDS = {
  "not-a-pod": "no pod, so no policy selects it",
  itself: "a pod cannot block itself",
  "own-node": "a pod's own node can always reach it",
  "not-isolated": "no policy isolates the pod in this direction",
};

const MAPS = {
  elsewhere: "not judged on this node",
  pending: "pending, closed until the pod's policy is in place",
  "not-isolated": "allowed, not isolated",
  audited: "allowed, though no rule does: audit mode",
  always: "allowed, whatever the rules say",
  denied: "denied",
};

function policy(name, words, rule) {
  return html`<button type="button" class="policy" onClick=${() => showPolicy({ ...name, rule }, words)}>
    ${name.namespace}/${name.name}${rule ? ` ${rule}` : ""}</button>`;
}

function isolated(names) {
  return names.length > 0
    ? html`<li>isolated by ${names.map((name) => policy(name, "It isolates the pod."))}</li>`
    : html`<li>isolated by a policy that went with its namespace before the agent started</li>`;
}

function reasons(said, lacks) {
  if (typeof said === "string") return html`<li>${WORDS[said]}</li>`;
  const [[kind, { isolated_by, rules, misses }]] = Object.entries(said);
  if (kind === "allowed") {
    return html`${rules.map((rule) => html`<li>by ${policy(rule.policy, "This rule allows it:", rule.path)}
      (peer: ${rule.peer ?? "every peer"}, port: ${rule.port ?? "every port"})</li>`)}${isolated(isolated_by)}`;
  }
  return html`${isolated(isolated_by)}
    ${misses.length === 0 && html`<li>no policy of these has a rule for this direction</li>`}
    ${misses.slice(0, 5).map((miss, index) => html`<li>not by ${policy(miss.policy, "This rule does not allow it:", miss.path)}: ${lacks[index].join(", ")}</li>`)}
    ${misses.length > 5 && html`<li>nor by ${misses.length - 5} other rules</li>`}`;
}

function outcome(said) {
  const kind = typeof said === "string" ? "forwarded" : Object.keys(said)[0];
  return { denied: "dropped", audited: "audit" }[kind] ?? "forwarded";
}

function maps(said) {
  return typeof said === "string" ? MAPS[said] : `allowed by ${said.allowed}`;
}

function end(name, said, lacks, inMaps) {
  return html`
    <h4>${name} ${verdict(outcome(said), { forwarded: "allowed", dropped: "denied" }[outcome(said)])}</h4>
    <ul>${reasons(said, lacks)}<li>maps in the kernel: ${maps(inMaps)}</li></ul>`;
}

function way({ from, to, pod, port, egress, ingress, maps: inMaps, consistent }, lacks) {
  return html`
    <section class="way">
      <h3>${from} → ${to}${pod ? ` (${pod.namespace}/${pod.name})` : ""}${port ? ` port ${port}` : ""}</h3>
      ${end("egress", egress, lacks.egress, inMaps.egress)}${end("ingress", ingress, lacks.ingress, inMaps.ingress)}
      ${!consistent && html`<p class="error">The maps of this node say something else than the policies. If the agent is in
        sync (netpolctl status), this is an error in netpol.</p>`}
    </section>`;
}

function summary({ ways, allowed }) {
  if (allowed) return "Allowed";
  if (ways.length === 0) return "Nobody answers";
  const open = ways.some(({ egress, ingress }) => ![egress, ingress].some((said) => outcome(said) === "dropped"));
  return open ? "Denied on some ways" : "Denied";
}

// What has been typed stays when something else makes the page draw itself.
function remember({ target }) {
  change({ question: { ...state.question, [target.name]: target.value } });
}

function submit(event) {
  event.preventDefault();
  const form = Object.fromEntries(new FormData(event.target));
  history.replaceState(null, "", `#explain?${new URLSearchParams(Object.entries(form).filter(([, value]) => value))}`);
  explain(form);
}

export function explainView() {
  const { question, explanation, names } = state;
  const name = ({ namespace, name }) => `${namespace}/${name}`;
  const known = [...names.pods.map(name), ...names.services.map((service) => `service:${name(service)}`)];
  const { answer, error, waits } = explanation ?? {};
  return html`
    <form class="filters" aria-label="Connection" onSubmit=${submit} onInput=${remember}>
      <label>From <input name="from" required value=${question.from} list="parties" placeholder="shop/web, node:n1, 192.0.2.1" autocomplete="off" /></label>
      <label>To <input name="to" required value=${question.to} list="parties" placeholder="shop/db-0, service:shop/db" autocomplete="off" /></label>
      <label>Port <input name="port" inputmode="numeric" size="6" value=${question.port} autocomplete="off" /></label>
      <label>Protocol <select name="protocol" value=${question.protocol}>
        ${["TCP", "UDP", "SCTP", "ICMP", "ICMPv6"].map((word) => html`<option>${word}</option>`)}</select></label>
      <datalist id="parties">${known.map((word) => html`<option value=${word}></option>`)}</datalist>
      <button type="submit">Explain</button>
    </form>
    <div aria-live="polite">
      ${waits && html`<p class="note">asking …</p>`}
      ${error && html`<p class="error" role="alert">${error}</p>`}
      ${answer && html`
        <h2 class=${answer.allowed ? "allowed" : "denied"}>${summary(answer)}</h2>
        <p>${answer.question}${answer.service ? `, through service ${name(answer.service)}` : ""}</p>
        ${answer.ways.map((one, index) => way(one, answer.lacks[index]))}`}
    </div>`;
}
