/** "carrier = UA, temp > 70": conditions on predictions; words alone are looked for in every column. */

import type { Json, Recent } from "./view";

interface Condition {
  column: string | null;
  operator: string;
  value: string;
}

export interface Filter {
  conditions: Condition[];
  problem: string | null;
}

export function parseFilter(text: string, columns: string[]): Filter {
  const conditions: Condition[] = [];
  for (const piece of text.split(/,|\band\b/).map((one) => one.trim()).filter(Boolean)) {
    const found = /^([^<>=!~]+?)\s*(<=|>=|!=|==|=|<|>|~)\s*(.*)$/.exec(piece);
    if (!found) {
      conditions.push({ column: null, operator: "~", value: piece });
      continue;
    }
    const [, said = "", operator = "=", value = ""] = found;
    const column = columns.find((name) => name.toLowerCase() === said.trim().toLowerCase());
    if (!column) return { conditions: [], problem: `There is no column “${said.trim()}”.` };
    if (value) conditions.push({ column, operator: operator === "==" ? "=" : operator, value: value.replace(/^["']|["']$/g, "") });
  }
  return { conditions, problem: null };
}

export function passes(filter: Filter, one: Recent): boolean {
  return filter.conditions.every(({ column, operator, value }) => {
    if (column === null) return [one.id, one.label, ...Object.values(one.row)].some((each) => compare(each, "~", value));
    const known: Record<string, Json> = { id: one.id, version: one.label, truth: one.truth, prediction: one.prediction, score: one.score };
    return compare(column in one.row ? one.row[column] : known[column], operator, value);
  });
}

function compare(value: Json | undefined, operator: string, wanted: string): boolean {
  const text = value === null || value === undefined ? "" : String(value);
  const [left, right] = [Number(text), Number(wanted)];
  const numbers = text !== "" && Number.isFinite(left) && Number.isFinite(right);
  const order = numbers ? left - right : text.localeCompare(wanted, "en", { sensitivity: "base" });
  switch (operator) {
    case "=":
      return order === 0;
    case "!=":
      return order !== 0;
    case "<":
      return text !== "" && order < 0;
    case "<=":
      return text !== "" && order <= 0;
    case ">":
      return text !== "" && order > 0;
    case ">=":
      return text !== "" && order >= 0;
    default:
      return text.toLowerCase().includes(wanted.toLowerCase());
  }
}
