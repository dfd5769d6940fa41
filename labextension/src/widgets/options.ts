/** What whoever shows the page lets a person do; what is left out is not offered. */

import type { Range } from "./view";

/** A chosen cell of the drift map: start of its window (milliseconds) and its feature, null for the prediction. */
export interface Selection {
  window: number;
  feature: string | null;
}

export interface Options {
  /** A range was chosen; answer by `update` with the new view. Without it the range is shown as words only. */
  onRange?: (range: Range) => void;
  /** Start the alert's action ("Retrain"). A rejected promise's message is shown in the alert's card. */
  onAct?: (alert: number) => void | Promise<void>;
  /** Acknowledge the alert. */
  onAcknowledge?: (alert: number) => void | Promise<void>;
  /** A cell of the drift map was chosen. */
  onSelect?: (selection: Selection | null) => void;
  /** "Trace" beside a prediction was pressed; used where `traceLink` gives no address. */
  onTrace?: (prediction: string) => void;
  /** Address of a prediction's lineage, or null. */
  traceLink?: (prediction: string) => string | null;
  /** Address of a job's page, or null; else its name is plain text. */
  jobLink?: (job: string) => string | null;
  /** What "Retrain" would be run on and how long it takes, for example "on flights v2, about 0:36". */
  actNote?: (alert: number) => string | null;
  /** The cell that is chosen first; by default the one of the newest alert. */
  selection?: Selection | null;
  /** The present in milliseconds, for tests. */
  now?: () => number;
  /** Whether an axis of time is drawn below (alone: yes; on the page only the lowest chart has one). */
  axis?: boolean;
  /** Whether marks carry their words (alone: yes). */
  markText?: boolean;
}
