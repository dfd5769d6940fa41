/** Alerts: what is open as a card with its deeds, what is over as a line that says how it ended. */

import { h, prose, type Child } from "./dom";
import { ago, date, exact, overYears } from "./format";
import type { Options } from "./options";
import { heading, Plain } from "./plain";
import { mark } from "./sign";
import type { Alert, Mark, View } from "./view";

const OPEN = ["open", "acknowledged", "acting"];

export class Alerts extends Plain<View> {
  constructor(element: HTMLElement, view: View, options: Options) {
    const busy = new Set<number>();
    const failed = new Map<number, string>();
    const self: { alerts: Alerts | null } = { alerts: null };
    const deed = (alert: number, run: (alert: number) => void | Promise<void>) => async (): Promise<void> => {
      busy.add(alert);
      failed.delete(alert);
      self.alerts?.draw(true);
      try {
        await run(alert);
      } catch (error) {
        failed.set(alert, error instanceof Error ? error.message : String(error));
      } finally {
        busy.delete(alert);
        self.alerts?.draw(true);
      }
    };
    const uses = (one: View): unknown => [one.alerts, one.marks, one.empty.alerts];
    super(element, view, "alerts", uses, (one) => build(one, options, { busy, failed, deed }));
    self.alerts = this;
  }
}

interface Deeds {
  busy: Set<number>;
  failed: Map<number, string>;
  deed: (alert: number, run: (alert: number) => void | Promise<void>) => () => Promise<void>;
}

function build(view: View, options: Options, deeds: Deeds): Child[] {
  const open = view.alerts.filter((alert) => OPEN.includes(alert.state));
  const over = view.alerts.filter((alert) => !OPEN.includes(alert.state));
  const back = view.marks.filter((one) => one.tone === "failed");
  const items: [number, HTMLElement][] = [
    ...over.map((alert): [number, HTMLElement] => [Date.parse(alert.closed ?? alert.until ?? alert.since), past(alert, options)]),
    ...back.map((one): [number, HTMLElement] => [Date.parse(one.at), rolledBack(one)]),
  ];
  items.sort(([a], [b]) => b - a);
  const list = items.length ? h("ul", {}, ...items.map(([, item]) => item)) : null;
  const right = open.length ? `${open.length} open` : "none open";
  const cards = open.map((alert) => card(alert, options, deeds));
  const words = !open.length && !items.length ? h("p", { class: "mlm-quiet" }, view.empty.alerts ?? "No rule was broken.") : null;
  return [...cards, (list ?? words) && heading("Alerts", open.length ? null : right), list, words];
}

/** The first sentence says what; the rest is for whoever goes on reading. */
function split(alert: Alert): [string, string] {
  const named = alert.explains.map(([name]) => name.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
  let text = alert.message;
  if (named.length && !text.includes("`")) text = text.replace(new RegExp(`(?<![\\w\`])(${named.join("|")})(?![\\w\`])`, "g"), "`$1`");
  const cutAt = /[;:.] /.exec(text);
  if (!cutAt) return [text.replace(/\.$/, ""), ""];
  const rest = text.slice(cutAt.index + 2);
  const first = rest.charAt(0);
  return [text.slice(0, cutAt.index), `${first.toUpperCase()}${rest.slice(1)}${/[.!?]$/.test(rest) ? "" : "."}`];
}

function card(alert: Alert, options: Options, { busy, failed, deed }: Deeds): HTMLElement {
  const [title, rest] = split(alert);
  const { onAct, onAcknowledge } = options;
  const waits = busy.has(alert.number);
  const acting = alert.state === "acting";
  const act = onAct && !acting && h("button", { type: "button", class: "mlm-primary", "data-key": `act ${alert.number}`, disabled: waits, click: () => void deed(alert.number, onAct)() }, "Retrain");
  const acknowledge = onAcknowledge && alert.state === "open" && h("button", { type: "button", "data-key": `ack ${alert.number}`, disabled: waits, click: () => void deed(alert.number, onAcknowledge)() }, "Acknowledge");
  const job = acting && h("span", { class: "mlm-acting" }, mark("running", "running"), " Retraining", ...(alert.job ? [": ", link(`job ${alert.job}`, options.jobLink?.(alert.job))] : []));
  const note = acting ? null : alert.acknowledged_by ? `acknowledged by ${alert.acknowledged_by}` : options.actNote?.(alert.number);
  const problem = failed.get(alert.number) ?? alert.error;
  const deeds = act || acknowledge || job || note;
  return h(
    "article",
    { class: `mlm-card mlm-${alert.state}`, "data-alert": alert.number, "aria-label": `Alert ${alert.number}: ${title}` },
    h("header", {}, mark("warning", alert.state), h("strong", {}, ...prose(title)), since(alert.raised, options)),
    rest ? h("p", {}, ...prose(rest)) : null,
    problem ? h("p", { class: "mlm-problem", role: "alert" }, mark("failed", "failed"), " ", problem) : null,
    deeds ? h("footer", {}, act, acknowledge, job, note ? h("span", { class: "mlm-right" }, note) : null) : null,
  );
}

function since(moment: string, options: Options): HTMLElement {
  const at = Date.parse(moment);
  return h("time", { class: "mlm-right", datetime: moment, title: exact(at), "data-ago": "" }, ago(at, options.now?.() ?? Date.now()));
}

function past(alert: Alert, options: Options): HTMLElement {
  const [title, rest] = split(alert);
  const [since, over] = [Date.parse(alert.since), alert.until ? Date.parse(alert.until) : null];
  const years = over !== null && overYears(since, over);
  const from = date(since, years);
  const bare = title.replace(/ since .*$/, "");
  const until = over !== null ? `, ${from} to ${date(over, years)}` : `, ${from}`;
  const answered: (Node | string)[] = [];
  if (alert.job || alert.model) {
    const parts = [alert.job && link(`job ${alert.job}`, options.jobLink?.(alert.job)), alert.model].filter((one): one is Node | string => Boolean(one));
    answered.push(" Answered by ", ...parts.flatMap((one, index) => (index ? [" and ", one] : [one])), ".");
  } else if (alert.state === "closed") answered.push(" It holds again.");
  return h("li", { "data-alert": alert.number }, mark("succeeded", alert.state), h("strong", {}, ...prose(bare), until), h("p", {}, ...prose(rest), ...answered));
}

function rolledBack(one: Mark): HTMLElement {
  return h("li", {}, mark("failed", "rolled back"), h("strong", {}, one.text), one.detail ? h("p", {}, ...prose(one.detail)) : null);
}

function link(words: string, to: string | null | undefined): Node {
  return to ? h("a", { href: to }, words) : h("span", {}, words);
}
