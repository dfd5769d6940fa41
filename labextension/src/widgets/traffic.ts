/** Predictions by version over time, stacked. */

import { counted, spans, yearly } from "./axis";
import { cut, label, s, spread } from "./dom";
import { count, date, hour, length } from "./format";
import { toneClass } from "./marks";
import type { Drawn, Frame, Kind } from "./track";
import type { Series, View } from "./view";

const TALL = 88;
const PAD = 18;

function unit(view: View): string {
  const step = view.traffic.step;
  const named: [number, string][] = [[86400, "day"], [3600, "hour"], [60, "minute"], [604800, "week"]];
  const found = named.find(([seconds]) => seconds === step);
  if (found) return `${/^[aeiou]|^hour/.test(found[1]) ? "an" : "a"} ${found[1]}`;
  return step % 3600 === 0 ? `in ${step / 3600} hours` : step % 60 === 0 ? `in ${step / 60} minutes` : `in ${length(`${step}s`).one}`;
}

function draw(frame: Frame): Drawn {
  const { view, x, left, right } = frame;
  const chart = view.traffic;
  const all = spans(chart);
  const totals = all.map((_, index) => chart.series.reduce((sum, one) => sum + (one.values[index] ?? 0), 0));
  const inside = all.map(([start, end]) => end > frame.domain[0] && start < frame.domain[1]);
  const ticks = counted(Math.max(...totals.filter((_, index) => inside[index]), 0));
  const most = ticks[ticks.length - 1] ?? 1;
  const y = (value: number): number => TALL - (value / most) * TALL;
  const grid = s("g", { class: "mlm-grid" });
  const scale = s("g", { class: "mlm-scale" });
  ticks.forEach((tick, index) => {
    if (index) grid.append(s("line", { x1: left, x2: right, y1: Math.round(y(tick)) + 0.5, y2: Math.round(y(tick)) + 0.5 }));
    scale.append(label(left - 8, y(tick) + (index ? 4 : 0), count(tick), { "text-anchor": "end" }));
  });
  const bars = s("g", { class: "mlm-bars" });
  const base = totals.map(() => 0);
  const wanted: { one: Series; at: number }[] = [];
  for (const one of [...chart.series].sort((a, b) => a.revision - b.revision)) {
    const path: string[] = [];
    all.forEach(([start, end], index) => {
      const value = one.values[index] ?? 0;
      if (!value || !inside[index]) return;
      const from = Math.max(x(start), left);
      const to = Math.min(x(end), right);
      const gap = to - from >= 4 ? 1 : to - from >= 2 ? 0.5 : 0;
      const under = base[index] ?? 0;
      base[index] = under + value;
      path.push(`M${r(from)} ${r(y(under))}V${r(y(under + value))}H${r(Math.max(to - gap, from + 0.75))}V${r(y(under))}Z`);
      wanted[chart.series.indexOf(one)] = { one, at: y(under + value / 2) };
    });
    if (path.length) bars.append(s("path", { d: path.join(""), class: toneClass(one.tone), "data-label": one.label }));
  }
  const said = wanted.filter(Boolean);
  const places = spread(said.map(({ at }) => at), 16, 2, TALL - 4);
  const names = said.map(({ one }, index) =>
    label(right + 8, (places[index] ?? 0) + 4, cut(one.label, frame.wide - right - 8, frame.beside, 11, "600"), { class: `mlm-name ${toneClass(one.tone)}` }),
  );
  const floor = s("line", { class: "mlm-floor", x1: left, x2: right, y1: TALL + 0.5, y2: TALL + 0.5 });
  return { height: TALL + PAD, behind: [grid], content: [bars, floor, scale, ...names] };
}

function r(value: number): string {
  return value.toFixed(1);
}

function tell(view: View, at: number): string[] {
  const index = spans(view.traffic).findIndex(([start, end]) => at >= start && at < end);
  const start = Date.parse(view.traffic.times[index] ?? "");
  if (index < 0) return [];
  const lines = view.traffic.series
    .filter((one) => one.values[index])
    .map((one) => `${one.label}: ${count(one.values[index] ?? 0)}`);
  const on = date(start, yearly(view));
  return [view.traffic.step >= 86400 ? on : `${on}, ${hour(start)}`, ...(lines.length ? lines : ["no requests"])];
}

export const traffic: Kind = {
  name: "traffic",
  title: "Traffic",
  note: (view) => `predictions ${unit(view)}, by version`,
  uses: (view) => view.traffic,
  isEmpty: (view) => view.traffic.series.every((one) => one.values.every((value) => !value)),
  draw,
  tell,
};
