/** Recent predictions, to be filtered, each with its trace. */

import { clipped, h, prose, replace, s, type Child } from "./dom";
import { parseFilter, passes } from "./filter";
import { ago, count, exact, figure, seconds } from "./format";
import { toneClass } from "./marks";
import type { Options } from "./options";
import type { Part } from "./shared";
import { styled } from "./theme";
import type { Json, Recent, Tone, View } from "./view";

const FEW = 12;
/** The longest id that is shown whole. */
const ID = 26;

export class Predictions implements Part<View> {
  private readonly root: HTMLElement;
  private readonly input: HTMLInputElement;
  private readonly problem = h("span", { class: "mlm-problem", role: "status" });
  private readonly captured = h("span", { class: "mlm-right" });
  private readonly body = h("div", { class: "mlm-scroll" });
  private all = false;
  private shown = "";
  private static next = 0;

  constructor(element: HTMLElement, private view: View, private readonly options: Options) {
    styled(element);
    const id = `mlm-recent-${(Predictions.next += 1)}`;
    this.input = h("input", {
      type: "search", placeholder: "Filter, for example carrier = UA", "aria-label": "Filter predictions",
      "data-key": "filter", spellcheck: "false", autocomplete: "off", input: () => this.draw(),
    });
    const funnel = s("svg", { width: 16, height: 16, viewBox: "0 0 16 16", "aria-hidden": "true" }, s("path", { d: "M2 3H14L9.5 8.5V14L6.5 12V8.5Z" }));
    this.root = h(
      "section",
      { class: "mlm mlm-predictions", "aria-labelledby": id },
      h("header", { class: "mlm-heading" }, h("h3", { id }, "Recent predictions"), h("label", { class: "mlm-filter" }, this.input, funnel), this.problem, this.captured),
      this.body,
    );
    element.replaceChildren(this.root);
    this.draw();
  }

  update(view: View): void {
    this.view = view;
    this.draw();
  }

  destroy(): void {
    this.root.remove();
  }

  private draw(): void {
    const { view } = this;
    const text = this.input.value;
    const shown = JSON.stringify([view.recent, view.columns, view.captured, view.missed, view.empty.predictions, text, this.all]);
    if (shown === this.shown) return;
    this.shown = shown;
    this.captured.textContent = `${count(view.captured)} captured, ${count(view.missed)} missed`;
    this.captured.classList.toggle("mlm-tone-alarm", view.missed > 0);
    const filter = parseFilter(text, [...this.columns(), "id", "version", "truth", "prediction", "score"]);
    this.problem.textContent = filter.problem ?? "";
    if (!view.recent.length) {
      replace(this.body, h("p", { class: "mlm-quiet" }, ...prose(view.empty.predictions ?? "No prediction yet.")));
      return;
    }
    const rows = view.recent.filter((one) => passes(filter, one));
    if (text && !filter.problem) this.problem.textContent = `${count(rows.length)} of the last ${count(view.recent.length)}`;
    this.problem.classList.toggle("mlm-well", !filter.problem);
    const more = rows.length - FEW;
    const fold = more > 0 && h("button", {
      type: "button", class: "mlm-more", "data-key": "more", "aria-expanded": this.all ? "true" : "false",
      click: () => { this.all = !this.all; this.draw(); },
    }, this.all ? "Fewer" : `${more} more`);
    replace(this.body, this.table(rows), fold);
  }

  private columns(): string[] {
    return this.view.columns.length ? this.view.columns : Object.keys(this.view.recent[0]?.row ?? {}).slice(0, 6);
  }

  private table(rows: Recent[]): HTMLElement {
    const columns = this.columns();
    const numeric = new Map(
      columns
        .filter((name) => this.view.recent.every((one) => one.row[name] === null || typeof one.row[name] === "number"))
        .map((name) => [name, decimals(this.view.recent, name)]),
    );
    const scored = this.view.recent.some((one) => one.score !== null);
    const traced = this.options.onTrace ?? this.options.traceLink;
    const head = h(
      "tr",
      {},
      column("Time"), column("Id"),
      ...columns.map((name) => column(name, numeric.has(name))),
      column("Prediction", true), column("Version", false, "mlm-apart"), column("Truth"), column("Took", true), traced && column(""),
    );
    const body = rows.map((one, index) => {
      const row = this.row(one, columns, numeric, scored);
      if (index >= FEW && !this.all) row.classList.add("mlm-folded");
      return row;
    });
    const table = h("table", {}, h("thead", {}, head), h("tbody", {}, ...body));
    table.style.setProperty("--mlm-columns", String(Math.max(columns.length, 1)));
    return table;
  }

  private row(one: Recent, columns: string[], numeric: Map<string, number>, scored: boolean): HTMLElement {
    const at = Date.parse(one.at);
    const { onTrace, traceLink } = this.options;
    const to = traceLink?.(one.id);
    const trace: Child = to
      ? h("a", { href: to, "data-key": `trace ${one.id}` }, "Trace")
      : onTrace && h("button", { type: "button", class: "mlm-link", "data-key": `trace ${one.id}`, click: () => onTrace(one.id) }, "Trace");
    const code = h("code", { title: one.id.length > ID ? one.id : null }, shortened(one.id));
    const id = to ? h("a", { href: to, tabindex: -1 }, code) : code;
    return h(
      "tr",
      { "data-id": one.id },
      h("td", {}, h("time", { datetime: one.at, title: exact(at), "data-ago": "" }, ago(at, this.options.now?.() ?? Date.now()))),
      h("td", {}, id),
      ...columns.map((name) => {
        const value = one.row[name];
        const digits = numeric.get(name);
        if (digits !== undefined) return h("td", { class: "mlm-number" }, typeof value === "number" ? value.toFixed(digits) : "–");
        return h("td", {}, clipped("code", plain(value)));
      }),
      h("td", { class: "mlm-number" }, h("span", { class: "mlm-score" }, scored && score(one, this.tone(one)), h("span", { class: "mlm-value" }, clipped("span", said(one))))),
      h("td", { class: "mlm-apart" }, clipped("span", one.label)),
      one.truth === null ? h("td", { class: "mlm-dim" }, "on its way") : h("td", {}, clipped("span", plain(one.truth))),
      h("td", { class: "mlm-number" }, seconds(one.latency)),
      (this.options.onTrace ?? traceLink) && h("td", { class: "mlm-number" }, trace),
    );
  }

  private tone(one: Recent): Tone {
    const known = [...this.view.answers, ...this.view.traffic.series].find((each) => each.label === one.label);
    return known?.tone ?? "older";
  }
}

function column(name: string, right = false, named: string | null = null): HTMLElement {
  return h("th", { scope: "col", class: right ? "mlm-number" : named }, name && clipped("span", name));
}

/** A long id without its middle: its end tells siblings apart. */
function shortened(id: string): string {
  const half = Math.floor((ID - 1) / 2);
  return id.length > ID ? `${id.slice(0, half)}…${id.slice(-half)}` : id;
}

/** As many decimals as the column's most exact figure has, so that points stand below each other. */
function decimals(rows: Recent[], name: string): number {
  const longest = rows.map((one) => String(one.row[name] ?? "").split(".")[1]?.length ?? 0);
  return Math.min(Math.max(0, ...longest), 3);
}

/** A bar from 0 to 1 for a probability; other figures have none. */
function score(one: Recent, tone: Tone): Child {
  if (one.score === null || one.score < 0 || one.score > 1) return null;
  const done = h("i", { class: toneClass(tone) });
  done.style.width = `${100 * one.score}%`;
  return h("span", { class: "mlm-track-bar", "aria-hidden": "true" }, done);
}

function said(one: Recent): string {
  return one.score === null ? plain(one.prediction) : figure(one.score);
}

function plain(value: Json | undefined): string {
  if (value === null || value === undefined) return "–";
  if (typeof value === "number") return Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(5)));
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}
