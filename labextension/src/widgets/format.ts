/** Figures and moments in the form a person reads. */

const MINUTE = 60_000;
const HOUR = 3_600_000;
export const DAY = 86_400_000;

/** A count with its thousands set apart: 336,776. */
export function count(value: number): string {
  return Math.round(value).toLocaleString("en-US");
}

/** A figure with as many digits as tell something: 0.60, 1.06, 42, 1,234. */
export function figure(value: number, digits = 2): string {
  const size = Math.abs(value);
  if (!Number.isFinite(value)) return "–";
  if (size >= 1000) return count(value);
  if (size >= 100) return value.toFixed(0);
  if (size >= 10) return value.toFixed(Math.max(digits - 1, 0));
  if (size > 0 && size < 0.5 * 10 ** -digits) return value.toPrecision(1);
  return value.toFixed(digits);
}

/** A figure in a small cell: .02, 0.18, 1.2, 12. */
export function small(value: number): string {
  const size = Math.abs(value);
  if (size < 0.095) return value.toFixed(2).replace("0.", ".");
  if (size < 0.995) return value.toFixed(2);
  return size < 9.95 ? value.toFixed(1) : value.toFixed(0);
}

/** The same in less room: .02, .18, 1.2. */
export function tiny(value: number): string {
  return small(value).replace(/^0\./, ".");
}

/** A figure beside a name: 0.33, 5.7, 12. */
export function metric(value: number): string {
  const size = Math.abs(value);
  return size < 0.995 ? value.toFixed(2) : size < 99.5 ? value.toFixed(1) : value.toFixed(0);
}

const METRICS: Record<string, string> = {
  psi: "PSI", js: "Jensen-Shannon", ks: "KS", wasserstein: "Wasserstein", chi2: "chi-square", chi_square: "chi-square",
};

/** A drift metric's name as people write it. */
export function named(name: string): string {
  return METRICS[name.toLowerCase()] ?? name.replaceAll("_", " ");
}

/** A share of one in per cent: 20 %, 0.4 %. */
export function share(part: number): string {
  const cent = 100 * part;
  return `${cent === 0 || cent >= 0.95 ? cent.toFixed(0) : cent.toFixed(1)} %`;
}

/** A stretch of time: 1.9 ms, 14 s. */
export function seconds(value: number): string {
  if (value < 0.0009995) return `${(value * 1e6).toFixed(0)} µs`;
  if (value < 0.9995) return `${(value * 1e3).toFixed(value < 0.00995 ? 1 : 0)} ms`;
  return value < 9.95 ? `${value.toFixed(1)} s` : `${value.toFixed(0)} s`;
}

function part(moment: number, options: Intl.DateTimeFormatOptions, local: boolean): string {
  return new Intl.DateTimeFormat("en-GB", local ? options : { ...options, timeZone: "UTC" }).format(moment);
}

/** 9 April. Days are those of UTC, in which windows are cut. */
export function day(moment: number): string {
  return part(moment, { day: "numeric", month: "long" }, false);
}

export function month(moment: number): string {
  return part(moment, { month: "long" }, false);
}

export function year(moment: number): string {
  return part(moment, { year: "numeric" }, false);
}

/** 9 Apr 2013 on an axis, where room is short. */
export function dated(moment: number): string {
  return `${part(moment, { day: "numeric" }, false)} ${month(moment).slice(0, 3)} ${year(moment)}`;
}

/** A day, with its year where the day alone would not tell which one. */
export function date(moment: number, years: boolean): string {
  return years ? `${day(moment)} ${year(moment)}` : day(moment);
}

/** Whether a stretch of time, up to not including its end, is in more than one year. */
export function overYears(start: number, end: number): boolean {
  return year(start) !== year(Math.max(end - 1, start));
}

/** 18:42 in the person's own zone. */
export function hour(moment: number): string {
  return part(moment, { hour: "2-digit", minute: "2-digit" }, true);
}

/** 18:42:07 in the person's own zone. */
export function clock(moment: number): string {
  return part(moment, { hour: "2-digit", minute: "2-digit", second: "2-digit" }, true);
}

/** In full, for tooltips: 2 July 2026, 16:02:11 CEST. */
export function exact(moment: number): string {
  const zone = { day: "numeric", month: "long", year: "numeric" } as const;
  const time = { hour: "2-digit", minute: "2-digit", second: "2-digit", timeZoneName: "short" } as const;
  return `${part(moment, zone, true)}, ${part(moment, time, true)}`;
}

/**
 * From a start up to, not including, an end: 9 to 15 April, 30 April to 6 May, 9 April, 9 April 14:00 to 15:00.
 * The year is said where both ends differ in it, or where `years` says that what is around it has several.
 */
export function span(start: number, end: number, years = false): string {
  const whole = start % DAY === 0 && end % DAY === 0 && end > start;
  if (!whole) {
    const said = years || part(start, { year: "numeric" }, true) !== part(end - 1, { year: "numeric" }, true);
    const [from, to] = [local(start, said), local(end, said)];
    return `${from}, ${hour(start)} to ${from === to ? "" : `${to}, `}${hour(end)}`;
  }
  const last = end - DAY;
  if (last === start) return date(start, years);
  if (month(start) === month(last) && year(start) === year(last)) {
    return `${part(start, { day: "numeric" }, false)} to ${date(last, years)}`;
  }
  const apart = year(start) !== year(last);
  return `${date(start, apart)} to ${date(last, apart || years)}`;
}

function local(moment: number, years = false): string {
  const words = part(moment, { day: "numeric", month: "long" }, true);
  return years ? `${words} ${part(moment, { year: "numeric" }, true)}` : words;
}

/** How long ago: 3 s ago, 4 min ago, 2 h ago, 3 days ago, later its date. */
export function ago(moment: number, now: number): string {
  const passed = Math.max(now - moment, 0);
  if (passed < MINUTE) return `${Math.floor(passed / 1000)} s ago`;
  if (passed < HOUR) return `${Math.floor(passed / MINUTE)} min ago`;
  if (passed < DAY) return `${Math.floor(passed / HOUR)} h ago`;
  const days = Math.floor(passed / DAY);
  if (days < 7) return days === 1 ? "1 day ago" : `${days} days ago`;
  return local(moment, part(moment, { year: "numeric" }, true) !== part(now, { year: "numeric" }, true));
}

const LENGTHS: Record<string, string> = { d: "day", h: "hour", m: "minute", s: "second" };

/** The window's length in words: "7d" is a week, "12h" 12 hours, "1000" 1,000 rows. */
export function length(window: string): { one: string; many: string } {
  const rows = /^#?(\d+)( rows)?$/.exec(window);
  if (rows) return { one: `${count(Number(rows[1]))} rows`, many: "windows" };
  const time = /^(\d+)\s*([dhms])$/.exec(window);
  if (time) {
    const number = Number(time[1]);
    const unit = LENGTHS[time[2] ?? ""] ?? "";
    if (unit === "day" && number === 7) return { one: "week", many: "weeks" };
    return number === 1 ? { one: unit, many: `${unit}s` } : { one: `${number} ${unit}s`, many: "windows" };
  }
  return { one: window || "window", many: window ? `${window}s` : "windows" };
}

const NUMBERS = ["no", "one", "two", "three", "four", "five", "six"];

/** Small numbers as words. */
export function spelled(value: number): string {
  return NUMBERS[value] ?? String(value);
}

/** What a limit that is a multiple of the held-out figure means: a quarter worse. */
export function worse(limit: number, heldOut: number | null): string {
  if (heldOut === null || heldOut <= 0) return `limit ${figure(limit)}`;
  const more = limit / heldOut - 1;
  for (const [value, words] of [[0.1, "a tenth"], [0.2, "a fifth"], [0.25, "a quarter"], [1 / 3, "a third"], [0.5, "half"]] as const) {
    if (Math.abs(more - value) < 0.005) return `${words} worse`;
  }
  return more > 0 ? `${Math.round(100 * more)} % worse` : `limit ${figure(limit)}`;
}
