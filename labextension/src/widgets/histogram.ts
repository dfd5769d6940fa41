/** The chosen cell: the baseline in grey against now. */

import { yearly } from "./axis";
import { h, label, prose, s, width, type Child } from "./dom";
import { metric, named, share, span } from "./format";
import { heading, Plain } from "./plain";
import type { Options } from "./options";
import { cell, chosen, labelOf, type Cell } from "./select";
import type { Shared } from "./shared";
import { onTheme } from "./theme";
import type { View } from "./view";

const TALL = 72;
const NAMES = 16;
/** Cells this different in width are drawn alike wide, with their edges named: a density would only show the narrow ones. */
const UNEVEN = 8;
const MOST = 7;

interface Pair {
  cell: Cell;
  baseline: number[];
  now: number[];
  missing: [number, number];
  labels: (number | string)[];
}

/** `only` is the prediction's own histogram, else that of the chosen cell. */
export function histogram(element: HTMLElement, view: View, shared: Shared, options: Options, only?: "prediction"): Plain<View> {
  const find = (one: View): Cell | null => {
    const selection = chosen(one, shared.state.selection, options.selection);
    return cell(one, selection && only ? { window: selection.window, feature: null } : selection);
  };
  const part: Plain<View> = new Plain(
    element, view, "histogram",
    (one) => [find(one), yearly(one), one.answers, one.alerts, one.empty.drift, element.clientWidth],
    (one, root) => build(one, find(one), root, shared, options, only),
    [
      shared.on((changed) => {
        if (changed.includes("selection")) part.draw();
      }),
      onTheme(() => part.draw(true)),
    ],
  );
  new ResizeObserver(() => part.draw()).observe(element);
  return part;
}

function build(view: View, found: Cell | null, root: HTMLElement, shared: Shared, options: Options, only?: "prediction"): Child[] {
  if (!found) return only ? [] : [heading("Baseline and now"), h("p", { class: "mlm-quiet" }, ...prose(view.empty.drift ?? "Nothing to compare yet."))];
  const chosenFeature = chosen(view, shared.state.selection, options.selection)?.feature;
  const value = found.row.values[found.index] ?? null;
  // Beside the chosen feature the prediction is shown while it alarms; twice the same would tell nothing.
  const open = view.alerts.some((alert) => ["open", "acknowledged", "acting"].includes(alert.state));
  if (only && (chosenFeature === null || !open || value === null || value <= view.drift.limit)) return [];
  const when = span(Date.parse(found.window.start), Date.parse(found.window.end), yearly(view));
  const name = found.row === view.drift.prediction ? "Prediction" : found.row.name;
  const head = heading(`${name}, ${when}`, value === null ? null : `${named(found.row.metric)} ${metric(value)}`);
  const pair = shares(found);
  if (!pair) return [head, h("p", { class: "mlm-quiet" }, "No counts are kept for this window.")];
  const baseline = found.row === view.drift.prediction ? "held out" : trained(view, found);
  const tone = found.row === view.drift.prediction ? "mlm-tone-alarm" : "mlm-tone-now";
  const wide = Math.max(root.clientWidth || 376, 200);
  const drawn = found.row.kind === "number" ? steps(pair, wide, baseline, when, tone, root) : bars(pair, baseline, when, tone);
  const [was, is] = pair.missing;
  const missing = was > 0.0005 || is > 0.0005 ? h("p", { class: "mlm-quiet" }, `missing: ${share(is)}, in the baseline ${share(was)}`) : null;
  return [head, drawn, missing];
}

function trained(view: View, found: Cell): string {
  const said = view.answers.find((one) => one.revision === found.window.revision)?.trained;
  return said ? said.replace(/^trained on /, "") : `training data of ${labelOf(view, found.window.revision)}`;
}

function shares({ index, window, row }: Cell): Pair | null {
  const counts = row.counts[index];
  const base = row.baseline[String(window.revision)];
  const labels = row.labels[String(window.revision)];
  if (!counts?.length || !base?.length || !labels) return null;
  const all = counts.reduce((sum, one) => sum + one, 0) || 1;
  const now = counts.map((one) => one / all);
  const last = now.length - 1;
  return {
    cell: { index, window, row }, labels, baseline: base.slice(0, last), now: now.slice(0, last),
    missing: [base[last] ?? 0, now[last] ?? 0],
  };
}

// -- numbers ----------------------------------------------------------------------------------------------------------

/** Edges of all cells: the open ones at both ends get the width of their neighbours. */
function bounds(edges: number[]): number[] {
  const first = edges[0] ?? 0;
  const last = edges[edges.length - 1] ?? 1;
  const inner = edges.slice(1).map((edge, index) => edge - (edges[index] ?? 0));
  return [first - (inner[0] || 1), ...edges, last + (inner[inner.length - 1] || 1)];
}

function steps({ labels, baseline, now }: Pair, wide: number, was: string, when: string, tone: string, root: HTMLElement): SVGElement {
  const edges = bounds(labels.map(Number));
  const widths = edges.slice(1).map((edge, index) => edge - (edges[index] ?? 0));
  const even = Math.max(...widths) / Math.max(Math.min(...widths), 1e-300) <= UNEVEN;
  const [low, high] = [edges[0] ?? 0, edges[edges.length - 1] ?? 1];
  const x = (index: number): number => (even ? ((edges[index] ?? 0) - low) / (high - low || 1) : index / widths.length) * (wide - 2) + 1;
  const density = (part: number, index: number): number => (even ? part / (widths[index] || 1) : part);
  const most = Math.max(...baseline.map(density), ...now.map(density)) || 1;
  const top = NAMES + 2;
  const y = (part: number, index: number): number => top + TALL - (density(part, index) / most) * TALL;
  const outline = (parts: number[]): string =>
    `M${x(0)} ${top + TALL}${parts.map((part, index) => `V${y(part, index).toFixed(1)}H${x(index + 1).toFixed(1)}`).join("")}V${top + TALL}`;
  const centre = (parts: number[]): number => parts.reduce((sum, part, index) => sum + (part * (x(index) + x(index + 1))) / 2, 0);
  const [grey, blue] = apart([centre(baseline), centre(now)], [width(was, root), width(when, root, "600")], wide);
  const shown = (value: number): string => (Math.abs(value) >= 1000 ? value.toLocaleString("en-US", { maximumFractionDigits: 0 }) : String(Number(value.toPrecision(3))));
  const ends: [number, string, string][] = even
    ? [[1, shown(low), "start"], [wide / 2, shown((low + high) / 2), "middle"], [wide - 1, shown(high), "end"]]
    : [[1, `under ${shown(edges[1] ?? 0)}`, "start"], [wide / 2, shown(edges[Math.round(widths.length / 2)] ?? 0), "middle"], [wide - 1, `from ${shown(edges[edges.length - 2] ?? 0)}`, "end"]];
  const tall = top + TALL + 18;
  const said = `Shares of rows, ${was} in grey against ${when}`;
  return s(
    "svg",
    { class: "mlm-pair", width: wide, height: tall, viewBox: `0 0 ${wide} ${tall}`, role: "img", "aria-label": said },
    s("path", { d: outline(now), class: `mlm-now ${tone}` }),
    s("path", { d: outline(baseline), class: "mlm-baseline" }),
    s("line", { class: "mlm-floor", x1: 0, x2: wide, y1: top + TALL + 0.5, y2: top + TALL + 0.5 }),
    label(grey, 11, was, { class: "mlm-of-baseline", "text-anchor": "middle" }),
    label(blue, 11, when, { class: `mlm-name ${tone}`, "text-anchor": "middle" }),
    ...ends.map(([at, words, anchor]) => label(at, top + TALL + 15, words, { class: "mlm-beside", "text-anchor": anchor })),
  );
}

/** Two labels above their centres, moved apart where they would touch, and kept inside. */
function apart([a, b]: [number, number], [wa, wb]: [number, number], wide: number): [number, number] {
  const gap = (wa + wb) / 2 + 12 - Math.abs(a - b);
  const sign = a <= b ? 1 : -1;
  const hold = (at: number, w: number): number => Math.min(Math.max(at, w / 2), wide - w / 2);
  if (gap <= 0) return [hold(a, wa), hold(b, wb)];
  const moved: [number, number] = [hold(a - (sign * gap) / 2, wa), hold(b + (sign * gap) / 2, wb)];
  const left = (wa + wb) / 2 + 12 - Math.abs(moved[0] - moved[1]);
  if (left <= 0) return moved;
  // One of them stands at the edge: the other gives way.
  return moved[0] === hold(moved[0] - sign, wa) ? [moved[0], hold(moved[1] + sign * left, wb)] : [hold(moved[0] - sign * left, wa), moved[1]];
}

// -- categories -------------------------------------------------------------------------------------------------------

/** The categories that moved most, by size; the rest together. */
function bars({ labels, baseline, now }: Pair, before: string, when: string, tone: string): HTMLElement {
  const all = baseline.map((part, index) => ({ name: labels[index] === undefined ? "other" : String(labels[index]), was: part, is: now[index] ?? 0 }));
  const moved = [...all].sort((a, b) => Math.abs(b.is - b.was) + b.is / 10 - Math.abs(a.is - a.was) - a.is / 10);
  const kept = new Set(moved.slice(0, MOST));
  const shown = all.filter((one) => kept.has(one) && (one.was || one.is)).sort((a, b) => b.was - a.was);
  const rest = all.filter((one) => !kept.has(one));
  if (rest.length > 1) shown.push({ name: `${rest.length} more`, was: sum(rest.map((one) => one.was)), is: sum(rest.map((one) => one.is)) });
  const most = Math.max(...shown.flatMap((one) => [one.was, one.is])) || 1;
  const bar = (part: number, kind: string): HTMLElement => {
    const one = h("i", { class: kind });
    one.style.width = `${(100 * part) / most}%`;
    return one;
  };
  return h(
    "div",
    { class: "mlm-categories", role: "table", "aria-label": `Shares of rows, ${before} against ${when}` },
    h("div", { class: "mlm-category-names", role: "row" }, h("span", { class: "mlm-of-baseline", role: "columnheader" }, before), h("strong", { class: `mlm-name ${tone}`, role: "columnheader" }, when)),
    ...shown.map((one) => {
      const words = `${one.name}: ${share(one.is)}, in the baseline ${share(one.was)}`;
      return h("div", { class: "mlm-category", role: "row", title: words }, h("code", { role: "rowheader" }, one.name), h("span", { role: "cell", "aria-label": words }, bar(one.was, "mlm-was"), bar(one.is, `mlm-is ${tone}`)), h("span", { class: "mlm-value" }, share(one.is)));
    }),
  );
}

function sum(parts: number[]): number {
  return parts.reduce((total, part) => total + part, 0);
}
