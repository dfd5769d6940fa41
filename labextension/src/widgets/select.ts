/** Which cell of the drift map is chosen, and what it holds. */

import type { Selection } from "./options";
import type { DriftRow, Span, View } from "./view";

export function key(selection: Selection): string {
  return `cell ${selection.window} ${selection.feature ?? ""}`;
}

/** The cell a person chose; else what explains the newest alert, at its first window; else the newest window. */
export function chosen(view: View, selected: Selection | null, given?: Selection | null): Selection | null {
  for (const one of [selected, given]) if (one && holds(view, one)) return one;
  const { windows, features } = view.drift;
  if (!windows.length) return null;
  const alert = [...view.alerts].sort((a, b) => b.number - a.number)[0];
  const since = alert ? Date.parse(alert.since) : NaN;
  const first = alert ? windows.findIndex((window) => Date.parse(window.end) > since) : -1;
  const index = first >= 0 ? first : newest(view);
  const named = first >= 0 ? alert?.explains[0]?.[0] : undefined;
  const feature = features.find((row) => row.name === named) ?? strongest(features, index);
  const window = windows[index];
  return window ? { window: Date.parse(window.start), feature: feature?.name ?? null } : null;
}

function newest(view: View): number {
  const { windows, prediction } = view.drift;
  for (let index = windows.length - 1; index >= 0; index--) {
    if (!prediction || prediction.values[index] !== null) return index;
  }
  return windows.length - 1;
}

function strongest(features: DriftRow[], index: number): DriftRow | undefined {
  const share = (row: DriftRow): number => row.shares[index] ?? 0;
  const value = (row: DriftRow): number => row.values[index] ?? -1;
  return [...features].sort((a, b) => share(b) - share(a) || value(b) - value(a))[0];
}

function holds(view: View, selection: Selection): boolean {
  const { windows, features } = view.drift;
  const known = selection.feature === null || features.some((row) => row.name === selection.feature);
  return known && windows.some((window) => Date.parse(window.start) === selection.window);
}

export interface Cell {
  index: number;
  window: Span;
  row: DriftRow;
}

/** What the chosen cell holds. */
export function cell(view: View, selection: Selection | null): Cell | null {
  if (!selection) return null;
  const index = view.drift.windows.findIndex((one) => Date.parse(one.start) === selection.window);
  const window = view.drift.windows[index];
  const row = selection.feature === null ? view.drift.prediction : view.drift.features.find((one) => one.name === selection.feature);
  return window && row ? { index, window, row } : null;
}

/** A version's label by its revision. */
export function labelOf(view: View, revision: number): string {
  const named = [...view.answers, ...view.traffic.series, ...view.quality.series].find((one) => one.revision === revision);
  return named?.label ?? `revision ${revision}`;
}
