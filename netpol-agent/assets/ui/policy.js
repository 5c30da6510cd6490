// A policy as the source has it, with the rule that decided.

import { closePolicy, state } from "./state.js";
import { html } from "./view.js";

function text({ yaml, rule }) {
  const marked = (index) => rule && index >= rule.first && index < rule.end;
  return yaml.trimEnd().split("\n").map((line, index) => marked(index)
    ? html`<mark key=${index}>${line}${"\n"}</mark>`
    : html`<span key=${index}>${line}${"\n"}</span>`);
}

export function policyView() {
  const { question, words, answer, error } = state.policy;
  return html`
    <aside class="policy-text" aria-label="Policy">
      <h2>${question.namespace}/${question.name}</h2>
      <button type="button" onClick=${closePolicy}>Close</button>
      <p>${words} ${question.rule && html`<code>${question.rule}</code>${answer && !answer.rule && ", which is there no more"}`}</p>
      ${error && html`<p class="error" role="alert">${error}</p>`}
      ${answer && html`
        <p><small>Generation ${answer.generation}, as it is now</small></p>
        <pre class="yaml" tabindex="0">${text(answer)}</pre>`}
    </aside>`;
}
