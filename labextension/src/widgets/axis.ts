/** The axis of time, and ticks. */

import { DAY, dated, day, hour, month, overYears, year } from "./format";
import type { Chart, View } from "./view";

export interface Tick {
  at: number;
  text: string;
}

const HOUR = DAY / 24;
const HOURS = [0.25, 0.5, 1, 2, 3, 6, 12];
const MONTHS = [1, 2, 3, 4, 6, 12, 24, 60, 120];

/** A chart's spans in milliseconds. */
export function spans(chart: Chart): [number, number][] {
  return chart.times.map((time) => [Date.parse(time), Date.parse(time) + 1000 * chart.step]);
}

/** From where to where all charts go. */
export function extent(view: View): [number, number] | null {
  const traffic = spans(view.traffic);
  const windows = view.drift.windows.map((window) => [Date.parse(window.start), Date.parse(window.end)] as const);
  // Bars are drawn whole; the windows at both ends are cut where the bars end.
  const starts = [...(view.start ? [Date.parse(view.start)] : traffic.length ? [] : windows.map(([start]) => start)), ...traffic.map(([start]) => start)];
  const ends = [...(view.end ? [Date.parse(view.end)] : traffic.length ? [] : windows.map(([, end]) => end)), ...traffic.map(([, end]) => end)];
  const start = Math.min(...starts);
  const end = Math.max(...ends);
  return Number.isFinite(start) && Number.isFinite(end) && end > start ? [start, end] : null;
}

/** Whether all that is shown is of more than one year, so that a day alone does not tell which one. */
export function yearly(view: View): boolean {
  const whole = extent(view);
  return whole !== null && overYears(...whole);
}

/**
 * Ticks that stand at least `room` pixels apart on `pixels`; `windows` are the starts of windows, if any. With `years`
 * each day and month says its year.
 */
export function timeTicks([start, end]: [number, number], pixels: number, room = 64, windows: number[] = [], years = false): Tick[] {
  const most = Math.max(Math.floor(pixels / room), 1);
  const length = end - start;
  const named = years ? dated : day;
  if (length >= 70 * DAY) return months(start, end, most, years);
  const inside = windows.filter((at) => at > start && at < end && at % DAY === 0);
  if (length > 10 * DAY && inside.length) {
    const every = Math.ceil((inside.length + 1) / most);
    const kept = inside.filter((_, index) => index % every === 0);
    const first = (((kept[0] ?? end) - start) / length) * pixels >= room * 0.6 && start % DAY === 0 ? [start] : [];
    return [...first, ...kept].map((at) => ({ at, text: named(at) }));
  }
  if (length > 2 * DAY) {
    const every = Math.ceil(length / DAY / most) * DAY;
    return steps(start, end, every, named);
  }
  const every = HOURS.find((hours) => length / (hours * HOUR) <= most) ?? 24;
  return steps(start, end, every * HOUR, (at) => (at % DAY === 0 && (years || every >= 12) ? named(at) : hour(at)));
}

function steps(start: number, end: number, every: number, text: (at: number) => string): Tick[] {
  const ticks = [];
  for (let at = Math.ceil(start / every) * every; at < end; at += every) ticks.push({ at, text: text(at) });
  return ticks;
}

function months(start: number, end: number, most: number, years: boolean): Tick[] {
  const first = new Date(start);
  const ticks: Tick[] = [];
  for (let index = 0; ; index++) {
    const at = Date.UTC(first.getUTCFullYear(), first.getUTCMonth() + index, 1);
    if (at >= end) break;
    if (at >= start) ticks.push({ at, text: month(at) });
  }
  const least = Math.ceil(ticks.length / most);
  if (!years) return ticks.filter((_, index) => index % least === 0);
  // Over years the same months come again: every January, or every January and July.
  const every = MONTHS.find((each) => each >= least) ?? least;
  return ticks
    .filter(({ at }) => (12 * new Date(at).getUTCFullYear() + new Date(at).getUTCMonth()) % every === 0)
    .map(({ at, text }) => ({ at, text: `${text.slice(0, 3)} ${year(at)}` }));
}

/** Round figures that span from `low` to `high`; at most `most` steps. */
export function ticks(low: number, high: number, most: number): number[] {
  const span = high - low || Math.abs(high) || 1;
  const power = 10 ** Math.floor(Math.log10(span / most));
  const step = [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((each) => span / each <= most) ?? 10 * power;
  const found = [];
  for (let value = Math.ceil(low / step - 1e-9) * step; value <= high + step * 1e-9; value += step) {
    found.push(Number(value.toPrecision(12)));
  }
  return found;
}

/** Ticks from zero to the first round figure that holds `high`. */
export function counted(high: number, most = 3): number[] {
  if (high <= 0) return [0, 1];
  for (let power = 10 ** Math.floor(Math.log10(high / most)); ; power *= 10) {
    for (const factor of [1, 2, 2.5, 5]) {
      const step = factor * power;
      const number = Math.ceil(high / step - 1e-9);
      if (number <= most && (step >= 1 || power < 0.1)) return Array.from({ length: number + 1 }, (_, index) => index * step);
    }
  }
}
