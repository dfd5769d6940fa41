/** Name, state, who answers, and the range of time. */

import { h, type Child } from "./dom";
import { clock, date, exact, length, overYears, share, span, DAY, hour } from "./format";
import { toneClass } from "./marks";
import type { Options } from "./options";
import { Plain } from "./plain";
import { mark, type Sign } from "./sign";
import type { Answering, Range, View } from "./view";

const RANGES: [Range, string][] = [["day", "Day"], ["week", "Week"], ["month", "Month"], ["all", "All"]];
const SIGNS: Record<string, Sign> = { up: "up", starting: "running", preparing: "running", failed: "failed", stopped: "cancelled" };

export class Header extends Plain<View> {
  private lost = false;

  constructor(element: HTMLElement, view: View, options: Options) {
    const uses = (one: View): unknown => {
      const { endpoint, model, title, state, reason, made, range, start, end, window, answers, warm } = one;
      return [endpoint, model, title, state, reason, made, range, start, end, window, answers, warm];
    };
    // `this` is not there yet while the first build runs: the line below reads it late.
    const self: { header: Header | null } = { header: null };
    super(element, view, "header", uses, (one) => build(one, options, self.header?.lost ?? false));
    self.header = this;
  }

  connection(state: "live" | "lost"): void {
    this.lost = state === "lost";
    this.draw(true);
  }
}

function build(view: View, options: Options, lost: boolean): Child[] {
  const made = Date.parse(view.made);
  const about = [view.model, view.title].filter(Boolean).join(" · ");
  const word = view.reason ? `${view.state}: ${view.reason}` : view.state;
  const first = h(
    "div",
    { class: "mlm-line1" },
    mark(SIGNS[view.state] ?? "queued", word),
    h("h1", { title: view.endpoint }, view.endpoint),
    h("span", { class: "mlm-about", title: about }, about),
    h("span", { class: "mlm-live", role: "status", title: exact(made) }, h("span", {}, lost ? "Connection lost" : "Live"), ", ", h("time", { datetime: view.made }, clock(made))),
    ranges(view, options, lost),
  );
  return [
    first,
    h("div", { class: "mlm-line2" }, ...answers(view), h("span", { class: "mlm-period" }, period(view))),
    view.state !== "up" && view.reason ? h("div", { class: "mlm-reason" }, view.reason) : null,
  ];
}

function ranges(view: View, options: Options, lost: boolean): Child {
  const onRange = options.onRange;
  if (!onRange) return null;
  const buttons = RANGES.map(([range, words]) =>
    h("button", {
      type: "button", "data-key": `range ${range}`, "aria-pressed": range === view.range ? "true" : "false",
      disabled: lost, click: () => onRange(range),
    }, words),
  );
  return h("div", { class: "mlm-ranges", role: "group", "aria-label": "Range of time" }, ...buttons);
}

function period(view: View): string {
  if (!view.start || !view.end) return "";
  const start = Date.parse(view.start);
  const end = Date.parse(view.end);
  // Up to the day that is going on, as a person counts days.
  const whole = end - start >= 2 * DAY;
  const years = overYears(start, end);
  const words = whole ? span(Math.floor(start / DAY) * DAY, Math.ceil(end / DAY) * DAY) : `${date(start, years)}, ${hour(start)} to ${years ? `${date(end, years)}, ` : ""}${hour(end)}`;
  return view.window ? `${words}, by ${length(view.window).one}` : words;
}

function answers(view: View): Child[] {
  const split = view.answers.filter((one) => one.share > 0);
  if (!split.length) return [h("span", { class: "mlm-answers" }, "Nobody answers")];
  const said = split.map((one) => `${one.label} ${share(one.share)}`).join(", ");
  const bar = h("div", { class: "mlm-split", role: "img", "aria-label": `Answers: ${said}`, title: said });
  for (const one of split) {
    const piece = h("span", { class: toneClass(one.tone) });
    piece.style.flexGrow = String(one.share);
    bar.append(piece);
  }
  const who = split.flatMap((one) => [
    h("strong", { class: `mlm-name ${toneClass(one.tone)}` }, `${one.label} ${share(one.share)}`),
    facts(one) && h("span", {}, facts(one)),
  ]);
  // A label alone is the version that is kept; a sentence is said as it is.
  const kept = view.warm && !view.warm.includes(" ") ? `${view.warm} kept warm, rollback in under 1 s` : view.warm;
  const warm = kept ? h("span", {}, `· ${kept}`) : null;
  return [h("span", { class: "mlm-answers" }, "Answers"), bar, ...who, warm];
}

function facts(one: Answering): string {
  const trained = one.trained && (one.trained.startsWith("trained") ? one.trained : `trained on ${one.trained}`);
  return [one.alias, trained].filter(Boolean).join(" · ");
}
