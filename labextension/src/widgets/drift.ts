/** One heat map: the prediction on top, which alarms, in amber; the features below, which explain, in blue. */

import { yearly } from "./axis";
import { cut, h, label, s, width } from "./dom";
import { length, metric, named, share, small, span, spelled, tiny } from "./format";
import type { Options, Selection } from "./options";
import { chosen, key } from "./select";
import type { Shared } from "./shared";
import { ink } from "./theme";
import type { Drawn, Frame, Kind } from "./track";
import type { DriftRow, Span, View } from "./view";

const TOP = 22;
const GAP = 10;
const ROW = 16;
const FOLD = 20;
const PAD = 12;
/** Where a feature's blue gets stronger. */
export const STEPS = [0.1, 0.25, 1, 3] as const;

interface Line {
  row: DriftRow;
  y: number;
  tall: number;
  feature: string | null;
}

/** The rows that are drawn, from the top, and those that are folded. */
function lines(view: View, unfolded: boolean): { drawn: Line[]; folded: DriftRow[]; height: number } {
  const { prediction, features } = view.drift;
  const calm = features.filter((row) => row.calm);
  const shown = unfolded ? features : features.filter((row) => !row.calm);
  const top = prediction ? TOP + GAP : 0;
  const drawn: Line[] = prediction ? [{ row: prediction, y: 0, tall: TOP, feature: null }] : [];
  shown.forEach((row, index) => drawn.push({ row, y: top + index * ROW, tall: ROW, feature: row.name }));
  return { drawn, folded: calm, height: top + shown.length * ROW };
}

function step(value: number): number {
  return STEPS.filter((edge) => value > edge).length;
}

/** 0 is well; from there each doubling of the limit is a stronger amber. */
function alarm(value: number, limit: number): number {
  return value <= limit ? 0 : Math.min(1 + Math.floor(Math.log2(value / limit)), 4);
}

/** How the prediction's figures are written: all in one way, the longest that the cells have room for. */
function form(view: View, places: (readonly [number, number])[], beside: Element): (value: number) => string {
  const widths = places.map(([from, to]) => to - from).sort((a, b) => a - b);
  const room = (widths[Math.floor(widths.length / 2)] ?? 0) - 4;
  const values = (view.drift.prediction?.values ?? []).filter((value): value is number => value !== null);
  const fits = (written: (value: number) => string): boolean => values.every((value) => width(written(value), beside) <= room);
  return [small, tiny].find(fits) ?? (() => "");
}

/** What a cell says. */
function words(row: DriftRow, index: number, window: Span, limit: number | null, years: boolean): string {
  const value = row.values[index];
  const when = span(Date.parse(window.start), Date.parse(window.end), years);
  if (value === null || value === undefined) return `${row.name}, ${when}: too few rows to say`;
  const said = `${row.name}, ${when}: ${named(row.metric)} ${metric(value)}`;
  if (limit !== null) return `${said}, ${value > limit ? "above" : "under"} the limit of ${limit}`;
  const part = row.shares[index];
  return `${said}${row.drifted[index] ? ", drifted" : ""}${part ? `, explains ${share(part)}` : ""}`;
}

export function drift(shared: Shared, options: Options): Kind {
  const select = (selection: Selection): void => {
    shared.set({ selection });
    options.onSelect?.(selection);
  };

  function draw(frame: Frame): Drawn {
    const { view, x, left, right, domain } = frame;
    const { windows, limit, running } = view.drift;
    const years = yearly(view);
    const { drawn, folded, height } = lines(view, shared.state.unfolded);
    const selection = chosen(view, shared.state.selection, options.selection);
    const at = windows.findIndex((window) => Date.parse(window.start) === selection?.window);
    const grid = s("g", { role: "grid", "aria-label": "Drift by feature and window", "aria-readonly": "true" });
    const places = windows.map((window) => [
      Math.max(x(Date.parse(window.start)), left), Math.min(x(Date.parse(window.end)), right),
    ] as const);
    const seen = windows.map((window) => Date.parse(window.end) > domain[0] && Date.parse(window.start) < domain[1]);
    const written = form(view, places.filter((_, index) => seen[index]), frame.beside);
    let outline: SVGElement | null = null;
    for (const { row, y, tall, feature } of drawn) {
      const line = s("g", { role: "row" });
      const explains = feature !== null && at >= 0 && (row.shares[at] ?? 0) >= 0.1;
      const strong = feature === null ? "mlm-row-top" : explains ? "mlm-row-strong" : "";
      const name = cut(row.name, left - 12, frame.beside, 11);
      const head = label(left - 8, y + tall / 2 + 4, name, { class: `mlm-row ${strong}`, "text-anchor": "end", role: "rowheader" });
      if (name !== row.name) head.append(s("title", {}, row.name));
      line.append(head);
      windows.forEach((window, index) => {
        if (!seen[index]) return;
        const [from, to] = places[index] ?? [0, 0];
        const [start, end] = [Math.round(from), Math.round(to)];
        const wide = Math.max(end - start - 1, 1);
        const value = row.values[index] ?? null;
        const level = value === null ? "none" : feature === null ? `alarm-${alarm(value, limit)}` : `step-${step(value)}`;
        const here = selection !== null && index === at && selection.feature === feature;
        const cell = { window: Date.parse(window.start), feature };
        const rect = s("rect", {
          x: start, y, width: wide, height: tall - 1, class: `mlm-cell mlm-${level}`, role: "gridcell",
          tabindex: here || (at < 0 && drawn[0]?.row === row && index === seen.indexOf(true)) ? 0 : -1,
          "aria-label": words(row, index, window, feature === null ? limit : null, years),
          "aria-selected": here ? "true" : "false", "data-key": key(cell), "data-row": row.name, "data-index": index,
          click: () => select(cell),
        });
        line.append(rect);
        const text = feature === null && value !== null ? written(value) : "";
        if (text && wide >= width(text, frame.beside) + 3) {
          line.append(label(start + wide / 2, y + tall / 2 + 4, text, { class: "mlm-figure", "text-anchor": "middle", "aria-hidden": "true" }));
        }
        if (here) outline = s("rect", { class: "mlm-chosen", x: start - 0.5, y: y - 0.5, width: wide + 1, height: tall });
      });
      grid.append(line);
    }
    if (outline) grid.append(outline);
    grid.addEventListener("keydown", (event) => walk(event, view, drawn));
    const top = view.drift.prediction ? TOP + GAP : 0;
    const beside = frame.narrow ? [] : legend(right, top, limit, running, view, drawn.length > 1);
    const low = Math.max(height, frame.narrow || drawn.length < 2 ? 0 : top + 5 * ROW + 4);
    const overlay = folded.length ? [fold(frame, folded, height)] : [];
    return { height: (folded.length ? Math.max(height + FOLD, low + 20) : low + 22) + PAD, content: [grid, ...beside], overlay };
  }

  function fold(frame: Frame, folded: DriftRow[], y: number): HTMLElement {
    const open = shared.state.unfolded;
    const button = h(
      "button",
      { type: "button", class: "mlm-fold-button", "data-key": "fold", "aria-expanded": open ? "true" : "false", click: () => shared.set({ unfolded: !open }) },
      open ? "fewer" : `${folded.length} more`,
    );
    button.style.width = `${frame.left - 8}px`;
    const names = open ? "" : `calm all along: ${folded.map((row) => row.name).join(", ")}`;
    const line = h("div", { class: "mlm-fold" }, button, h("span", { title: names }, names));
    line.style.top = `${y}px`;
    line.style.width = `${frame.right}px`;
    return line;
  }

  function walk(event: KeyboardEvent, view: View, drawn: Line[]): void {
    const cell = event.target as Element;
    const column = Number(cell.getAttribute("data-index"));
    const row = drawn.findIndex((line) => line.row.name === cell.getAttribute("data-row"));
    const last = view.drift.windows.length - 1;
    const to: Record<string, [number, number]> = {
      ArrowLeft: [row, column - 1], ArrowRight: [row, column + 1], ArrowUp: [row - 1, column], ArrowDown: [row + 1, column],
      Home: [row, 0], End: [row, last], Enter: [row, column], " ": [row, column],
    };
    const target = to[event.key];
    const window = target && view.drift.windows[target[1]];
    const line = target && drawn[target[0]];
    if (!target) return;
    event.preventDefault();
    if (!window || !line) return;
    const next = { window: Date.parse(window.start), feature: line.feature };
    const root = cell.closest(".mlm-track-box");
    root?.querySelector<SVGElement>(`[data-key="${CSS.escape(key(next))}"]`)?.focus({ preventScroll: true });
    select(next);
  }

  return {
    name: "drift",
    title: "Drift",
    note: (view) => `${named(view.drift.prediction?.metric ?? "PSI")} against the training data of the version that answers, by ${length(view.window).one}`,
    uses: (view) => [view.drift, view.alerts],
    isEmpty: (view) => !view.drift.windows.length || (!view.drift.prediction && !view.drift.features.length),
    draw,
    after: (box) => {
      for (const text of box.querySelectorAll<SVGTextElement>(".mlm-figure")) {
        const cell = text.previousElementSibling;
        if (cell) text.style.fill = ink(getComputedStyle(cell).fill);
      }
    },
    tell: (view, at, y) => {
      const index = view.drift.windows.findIndex((window) => at >= Date.parse(window.start) && at < Date.parse(window.end));
      const window = view.drift.windows[index];
      const line = lines(view, shared.state.unfolded).drawn.find((one) => y >= one.y && y < one.y + one.tall);
      if (!window || !line) return [];
      const [name, ...rest] = words(line.row, index, window, line.feature === null ? view.drift.limit : null, yearly(view)).split(": ");
      return [name ?? "", rest.join(": "), `${window.rows.toLocaleString("en-US")} rows`];
    },
  };
}

/** What the colours mean, beside the rows they are in. */
function legend(right: number, top: number, limit: number, running: number, view: View, features: boolean): SVGElement[] {
  const x = right + 8;
  const { one, many } = length(view.window);
  const often = running === 1 ? `one ${one.includes(" ") ? "window" : one}` : `${spelled(running)} ${many}`;
  const parts: SVGElement[] = [];
  if (view.drift.prediction) {
    parts.push(label(x, 9, "alarm above", { class: "mlm-beside" }), label(x, 22, `${limit}, ${often}`, { class: "mlm-beside" }));
  }
  if (!features) return parts;
  for (let index = 0; index <= STEPS.length; index++) {
    parts.push(s("rect", { x, y: top + index * ROW, width: 16, height: ROW - 1, class: `mlm-step-${index}`, "aria-hidden": "true" }));
    const edge = STEPS[index];
    if (edge !== undefined) parts.push(label(x + 22, top + (index + 1) * ROW + 3.5, String(edge), { class: "mlm-beside" }));
  }
  parts.push(label(x, top + 5 * ROW + 13, "explains,", { class: "mlm-beside" }), label(x, top + 5 * ROW + 26, "never alarms", { class: "mlm-beside" }));
  return parts;
}
