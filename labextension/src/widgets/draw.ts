/** One part by its name. */

import { Alerts } from "./alerts";
import { drift } from "./drift";
import { explains } from "./explains";
import { Header } from "./header";
import { histogram } from "./histogram";
import type { Options } from "./options";
import { Predictions } from "./predictions";
import { quality } from "./quality";
import { Shared, type Part } from "./shared";
import { slices } from "./slices";
import { tiles } from "./tiles";
import { Track } from "./track";
import { traffic } from "./traffic";
import type { View } from "./view";

export const KINDS = [
  "header", "tiles", "traffic", "drift", "quality", "alerts", "histogram", "explains", "slices", "predictions",
] as const;
export type Kind = (typeof KINDS)[number];

export function draw(element: HTMLElement, kind: Kind, view: View, options: Options = {}, shared = new Shared()): Part<View> {
  switch (kind) {
    case "header":
      return new Header(element, view, options);
    case "tiles":
      return tiles(element, view);
    case "traffic":
      return new Track(element, view, traffic, shared, options);
    case "drift":
      return new Track(element, view, drift(shared, options), shared, options);
    case "quality":
      return new Track(element, view, quality, shared, options);
    case "alerts":
      return new Alerts(element, view, options);
    case "histogram":
      return histogram(element, view, shared, options);
    case "explains":
      return explains(element, view, shared, options);
    case "slices":
      return slices(element, view);
    case "predictions":
      return new Predictions(element, view, options);
  }
}
