/** What happened, as hairlines through all charts, with its words above the first of them. */

import { label, s, width } from "./dom";
import { exact } from "./format";
import type { Mark, Tone } from "./view";

const ROW = 16;
const LONGEST = 48;
/** Room for the line that says how long an alert lived. */
const LIFE = 6;

interface Placed {
  mark: Mark;
  at: number;
  until: number | null;
  row: number;
  x: number;
  anchor: "start" | "end";
}

export interface Layout {
  placed: Placed[];
  rows: number;
  height: number;
}

export function toneClass(tone: Tone): string {
  return `mlm-tone-${tone}`;
}

/** The words beside the line: what is long, or one step of many, is in the tooltip. */
function said(mark: Mark): string {
  if (mark.kind === "step" || mark.kind === "held") return "";
  return mark.text.length > LONGEST ? `${mark.text.slice(0, LONGEST - 1).trimEnd()}…` : mark.text;
}

/** Whether a mark lasts: an alert that is not over lasts to the end of the axis. */
function lasting(mark: Mark): boolean {
  return mark.tone === "alarm" && (mark.until !== null || mark.kind.startsWith("alert"));
}

/** Where the words of marks stand, so that none runs into another or is crossed by another's line. */
export function place(marks: Mark[], x: (at: number) => number, room: [number, number], beside: Element): Layout {
  const sorted = [...marks].sort((a, b) => Number(b.tone === "alarm") - Number(a.tone === "alarm") || Date.parse(a.at) - Date.parse(b.at));
  const spots = sorted.map((mark): Placed => {
    const until = mark.until === null ? (lasting(mark) ? Infinity : null) : x(Date.parse(mark.until));
    const anchor = mark.tone === "alarm" ? "start" : "end";
    return { mark, at: x(Date.parse(mark.at)), until, row: 0, x: 0, anchor };
  });
  const longs = sorted.map((mark) => width(said(mark), beside));
  const words = (index: number, one: Placed): [number, number] => {
    const long = longs[index] ?? 0;
    return one.anchor === "start" ? [one.at + 6, one.at + 6 + long] : [one.at - 6 - long, one.at - 6];
  };
  const price = (index: number, one: Placed): number => {
    const [from, to] = words(index, one);
    let sum = one.row * 3 + (one.anchor === (one.mark.tone === "alarm" ? "start" : "end") ? 0 : 2);
    if (from < room[0] || to > room[1]) sum += 500;
    spots.forEach((other, at) => {
      if (at === index) return;
      const [start, end] = words(at, other);
      if (other.row === one.row && from - 8 < end && to + 8 > start) sum += 1000;
      if (other.row >= one.row) sum += 20 * crossed(other, from, to);
      if (one.row >= other.row) sum += 20 * crossed(one, start, end);
    });
    return sum;
  };
  // Each in turn takes the best place beside the others, until nobody would move.
  for (let turn = 0; turn < 4; turn++) {
    spots.forEach((one, index) => {
      const ways = Array.from({ length: Math.min(spots.length, 4) }, (_, row) => (["start", "end"] as const).map((anchor) => ({ ...one, row, anchor }))).flat();
      spots[index] = ways.reduce((best, way) => (price(index, way) < price(index, best) ? way : best));
    });
  }
  const placed = spots.map((one) => ({ ...one, x: one.anchor === "start" ? one.at + 6 : one.at - 6 }));
  const rows = placed.length ? 1 + Math.max(...placed.map((one) => one.row)) : 0;
  return { placed, rows, height: rows ? rows * ROW + LIFE : 0 };
}

/** How many of a mark's lines go through a stretch. */
function crossed(mark: Placed, from: number, to: number): number {
  const lines = [mark.at, ...(mark.until !== null && !lasting(mark.mark) ? [mark.until] : [])];
  return lines.filter((line) => line > from - 2 && line < to + 2).length;
}

/** Draw them over a chart: lines from top (where the words are) to `bottom`. */
export function drawMarks(layout: Layout, words: boolean, bottom: number, [left, right]: [number, number]): SVGGElement {
  const group = s("g", { class: "mlm-marks" });
  const seen = (at: number): boolean => at >= left && at <= right;
  for (const { mark, at, until, row, x, anchor } of layout.placed) {
    const top = words ? (layout.rows - row - 1) * ROW + 2 : 0;
    const whole = [`${mark.text} (${exact(Date.parse(mark.at))})`, mark.detail].filter(Boolean).join("\n");
    const one = s("g", { class: `mlm-mark ${toneClass(mark.tone)}`, "data-kind": mark.kind }, s("title", {}, whole));
    const line = (place: number): void => {
      if (seen(place)) one.append(s("line", { x1: place, x2: place, y1: top, y2: bottom }));
    };
    line(at);
    const life = lasting(mark);
    if (until !== null && !life) line(until);
    if (words && life && until !== null) {
      const y = layout.rows * ROW + 3;
      const [from, to] = [Math.max(at, left), Math.min(until, right)];
      if (to > from) one.append(s("line", { class: "mlm-life", x1: from, x2: to, y1: y, y2: y }));
    }
    if (words && seen(at)) one.append(label(x, top + 12, said(mark), { "text-anchor": anchor }));
    group.append(one);
  }
  return group;
}
