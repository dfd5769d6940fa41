/** What mlinfra_lab/schema/monitoring.py says, as msgspec writes it. A test holds the two against each other. */

export type Tone = "plain" | "now" | "older" | "alarm" | "failed" | "well";
export type Range = "day" | "week" | "month" | "all";
export type ColumnKind = "number" | "category";
export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
/** A moment as ISO 8601. */
export type Moment = string;

export interface Alert {
  number: number;
  endpoint: string;
  revision: number;
  rule: string;
  state: "open" | "acknowledged" | "acting" | "answered" | "closed";
  since: Moment;
  until: Moment | null;
  raised: Moment;
  value: number;
  limit: number;
  message: string;
  explains: [string, number][];
  detail: { [key: string]: Json };
  acknowledged_by: string | null;
  job: string | null;
  model: string | null;
  error: string | null;
  acted: Moment | null;
  closed: Moment | null;
}

export interface Answering {
  revision: number;
  label: string;
  share: number;
  alias: string | null;
  trained: string | null;
  tone: Tone;
}

export interface Tile {
  id: "requests" | "latency" | "errors" | "drift";
  title: string;
  value: number | null;
  unit: string;
  rule: string | null;
  broken: boolean;
  note: string;
  spark: (number | null)[];
  limit: number | null;
}

export interface Mark {
  at: Moment;
  until: Moment | null;
  kind: string;
  text: string;
  tone: Tone;
  detail: string;
}

export interface Series {
  revision: number;
  label: string;
  tone: Tone;
  values: (number | null)[];
  estimated: boolean[];
  rows: number[];
}

export interface Chart {
  times: Moment[];
  step: number;
  series: Series[];
  unit: string;
  better: "lower" | "higher" | null;
  limit: number | null;
  held_out: number | null;
}

export interface Span {
  start: Moment;
  end: Moment;
  rows: number;
  revision: number;
}

export interface DriftRow {
  name: string;
  kind: ColumnKind;
  metric: string;
  values: (number | null)[];
  drifted: boolean[];
  calm: boolean;
  labels: { [revision: string]: (number | string)[] };
  baseline: { [revision: string]: number[] };
  counts: number[][];
  shares: (number | null)[];
}

export interface DriftMap {
  windows: Span[];
  prediction: DriftRow | null;
  features: DriftRow[];
  limit: number;
  running: number;
}

export interface Slice {
  column: string;
  value: string;
  truths: number;
  values: { [label: string]: number | null };
}

export interface Recent {
  id: string;
  at: Moment;
  event_time: Moment | null;
  row: { [column: string]: Json };
  prediction: Json;
  score: number | null;
  label: string;
  truth: Json;
  latency: number;
}

export interface View {
  endpoint: string;
  model: string;
  title: string | null;
  state: string;
  reason: string | null;
  number: number;
  made: Moment;
  range: Range;
  start: Moment | null;
  end: Moment | null;
  window: string;
  answers: Answering[];
  warm: string | null;
  tiles: Tile[];
  marks: Mark[];
  traffic: Chart;
  drift: DriftMap;
  quality: Chart;
  metric: string;
  slices: Slice[];
  alerts: Alert[];
  recent: Recent[];
  columns: string[];
  captured: number;
  missed: number;
  empty: { [part: string]: string };
}
