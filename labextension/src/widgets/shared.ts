/** What the parts of one page have in common: the crosshair, the stretch of time that is shown, the chosen cell. */

import type { Selection } from "./options";

export interface State {
  /** Where the pointer is, in milliseconds. */
  crosshair: number | null;
  /** The stretch that was selected by dragging; null is all of it. */
  domain: [number, number] | null;
  selection: Selection | null;
  /** Whether the calm features are unfolded. */
  unfolded: boolean;
}

export class Shared {
  readonly state: State = { crosshair: null, domain: null, selection: null, unfolded: false };
  private readonly told = new Set<(changed: (keyof State)[]) => void>();

  /** Change something; those who listen are told what differs. */
  set(change: Partial<State>): void {
    const changed = (Object.keys(change) as (keyof State)[]).filter(
      (key) => JSON.stringify(change[key]) !== JSON.stringify(this.state[key]),
    );
    if (!changed.length) return;
    Object.assign(this.state, change);
    this.told.forEach((one) => one(changed));
  }

  /** Listen; returns how to stop. */
  on(told: (changed: (keyof State)[]) => void): () => void {
    this.told.add(told);
    return () => this.told.delete(told);
  }
}

/** A part of the page that is drawn. */
export interface Part<D> {
  update(data: D): void;
  destroy(): void;
}
