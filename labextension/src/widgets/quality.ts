/** How good the answers were, by version; dashed with a hollow point while the truth is on its way. */

import { spans, ticks, yearly } from "./axis";
import { cut, label, s, spread, width } from "./dom";
import { figure, span, worse } from "./format";
import { toneClass } from "./marks";
import type { Drawn, Frame, Kind } from "./track";
import type { Series, View } from "./view";

const TALL = 128;
const ABOVE = 8;

interface Point {
  x: number;
  y: number;
  value: number;
  estimated: boolean;
  index: number;
}

/** Where each figure stands: the middle of what is seen of its window. */
function middles(view: View, domain: [number, number]): (number | null)[] {
  const ends = new Map(view.drift.windows.map((window) => [Date.parse(window.start), Date.parse(window.end)]));
  return spans(view.quality).map(([start, after]) => {
    const end = ends.get(start) ?? after;
    if (end <= domain[0] || start >= domain[1]) return null;
    return (Math.max(start, domain[0]) + Math.min(end, domain[1])) / 2;
  });
}

function draw(frame: Frame): Drawn {
  const { view, x, left, right, narrow } = frame;
  const chart = view.quality;
  const at = middles(view, frame.domain);
  const lines = [chart.limit, chart.held_out].filter((value): value is number => value !== null);
  const figures = chart.series.flatMap((one) => one.values.filter((value, index): value is number => value !== null && at[index] !== null));
  const [low, high] = [Math.min(...figures, ...lines), Math.max(...figures, ...lines)];
  const pad = (high - low || Math.abs(high) || 1) * 0.08;
  const [from, to] = [low - pad, high + pad];
  const y = (value: number): number => ABOVE + (1 - (value - from) / (to - from)) * TALL;
  const grid = s("g", { class: "mlm-grid" });
  const scale = s("g", { class: "mlm-scale" });
  const marks = ticks(from, to, 5);
  const digits = Math.max(...marks.map((tick) => (String(tick).split(".")[1] ?? "").length), 1);
  for (const tick of marks) {
    const place = Math.round(y(tick)) + 0.5;
    grid.append(s("line", { x1: left, x2: right, y1: place, y2: place }));
    scale.append(label(left - 8, place + 4, tick.toFixed(Math.min(digits, 3)), { "text-anchor": "end" }));
  }
  for (const [value, name] of [[chart.limit, "limit"], [chart.held_out, "held"]] as const) {
    if (value !== null) grid.append(s("line", { class: `mlm-${name}`, x1: left, x2: right, y1: y(value), y2: y(value) }));
  }
  const drawn = chart.series.map((one) => ({ one, points: points(one, at, x, y) })).filter(({ points: has }) => has.length);
  const paths = drawn.map(({ one, points: has }) => path(one, has));
  const last = Math.max(...drawn.map(({ points: has }) => has[has.length - 1]?.index ?? -1));
  const beside: { at: number; parts: [string, string][] }[] = [];
  const inside: SVGElement[] = [];
  const room = frame.wide - right - 8;
  for (const { one, points: has } of drawn) {
    const end = has[has.length - 1];
    if (!end) continue;
    if (end.index === last || end.x > right - 24) {
      const value = figure(end.value);
      const name = cut(one.label, room - width(` ${value}`, frame.beside, "600"), frame.beside, 11, "600");
      const words: [string, string][] = [[`${name} ${value}`, `mlm-name ${toneClass(one.tone)}`]];
      beside.push({ at: end.y, parts: words });
      if (end.estimated && !narrow) {
        // Below its figure where both are too long for one line, else they would run into what stands at the right.
        const both = width(`${name} ${value}`, frame.beside, "600") + width(" estimated", frame.beside);
        if (both <= room) words.push([" estimated", "mlm-beside"]);
        else beside.push({ at: end.y + 1e-6, parts: [["estimated", "mlm-beside"]] });
      }
    } else inside.push(older(one, has, chart.better === "higher", frame));
  }
  if (chart.limit !== null) beside.push({ at: y(chart.limit), parts: [[worse(chart.limit, chart.held_out), "mlm-beside"]] });
  if (chart.held_out !== null) beside.push({ at: y(chart.held_out), parts: [[`held out ${figure(chart.held_out)}`, "mlm-beside"]] });
  const places = spread(beside.map((one) => one.at), 14, 4, ABOVE + TALL - 2);
  const names = beside.map(({ parts }, index) => {
    const text = label(right + 8, (places[index] ?? 0) + 4, "");
    parts.forEach(([words, name]) => text.append(s("tspan", { class: name }, words)));
    return text;
  });
  return { height: ABOVE + TALL, behind: [grid], content: [scale, ...paths, ...inside, ...names] };
}

function points(one: Series, at: (number | null)[], x: (time: number) => number, y: (value: number) => number): Point[] {
  return one.values.flatMap((value, index) => {
    const time = at[index];
    if (value === null || time === null || time === undefined) return [];
    return [{ x: x(time), y: y(value), value, estimated: one.estimated[index] ?? false, index }];
  });
}

/** Solid between known points, dashed towards an estimated one; a window without a figure is a gap. */
function path(one: Series, has: Point[]): SVGElement {
  const group = s("g", { class: `mlm-line ${toneClass(one.tone)}`, "data-label": one.label });
  let solid = "";
  let dashed = "";
  has.forEach((point, index) => {
    const before = has[index - 1];
    if (!before || before.index !== point.index - 1) return;
    const piece = `M${before.x.toFixed(1)} ${before.y.toFixed(1)}L${point.x.toFixed(1)} ${point.y.toFixed(1)}`;
    if (point.estimated || before.estimated) dashed += piece;
    else solid += piece;
  });
  if (solid) group.append(s("path", { d: solid }));
  if (dashed) group.append(s("path", { d: dashed, class: "mlm-dashed" }));
  for (const point of has) {
    const name = point.estimated ? "mlm-hollow" : "mlm-point";
    group.append(s("circle", { cx: point.x.toFixed(1), cy: point.y.toFixed(1), r: point.estimated ? 2.5 : 2, class: name }));
  }
  return group;
}

/** A version that answers no more is named where it was worst. */
function older(one: Series, has: Point[], higher: boolean, frame: Frame): SVGElement {
  const worst = has.reduce((a, b) => ((higher ? b.value < a.value : b.value > a.value) ? b : a));
  const text = `${one.label} ${figure(worst.value)}`;
  const fits = worst.x - 8 - width(text, frame.beside, "600") > frame.left;
  const left = fits && one.tone !== "failed";
  const spot = { class: `mlm-name mlm-halo ${toneClass(one.tone)}`, "text-anchor": left ? "end" : "start" };
  return label(worst.x + (left ? -7 : 7), worst.y + 4, text, spot);
}

function tell(view: View, at: number): string[] {
  const ends = new Map(view.drift.windows.map((window) => [Date.parse(window.start), Date.parse(window.end)]));
  const all = spans(view.quality).map(([start, end]) => [start, ends.get(start) ?? end] as const);
  const index = all.findIndex(([start, end]) => at >= start && at < end);
  const found = all[index];
  if (!found) return [];
  const lines = view.quality.series.flatMap((one) => {
    const value = one.values[index];
    if (value === null || value === undefined) return [];
    const rows = one.rows[index];
    const truths = rows === undefined ? "" : `, ${rows.toLocaleString("en-US")} truths`;
    return [`${one.label}: ${figure(value, 3)}${one.estimated[index] ? ", estimated" : truths}`];
  });
  return lines.length ? [span(found[0], found[1], yearly(view)), ...lines] : [];
}

export const quality: Kind = {
  name: "quality",
  title: "Quality",
  note: (view) => {
    const name = view.metric || view.quality.unit || "loss";
    const better = view.quality.better ? `, ${view.quality.better} is better` : "";
    const dashed = view.quality.series.some((one) => one.estimated.some(Boolean));
    return `${name}${better}${dashed ? "; dashed while truth is on its way" : ""}`;
  },
  uses: (view) => [view.quality, view.metric, view.drift.windows],
  isEmpty: (view) => view.quality.series.every((one) => one.values.every((value) => value === null)),
  draw,
  tell,
};
