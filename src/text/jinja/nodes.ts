/** What a template is made of, once parsed. */
import type { Arithmetic, Order } from "./operators.ts";
import type { Value } from "./values.ts";

interface Keyword {
  name: string;
  value: Expression;
}

/** What stands between the parentheses of a call. */
export interface Arguments {
  positional: Expression[];
  keywords: Keyword[];
  /** *list and **dict. */
  rest: Expression | null;
  restKeywords: Expression | null;
}

export type Comparison = "==" | "!=" | Order | "in" | "not in";

type Call = { type: "call"; callee: Expression; arguments: Arguments };
export type Filter = { type: "filter"; value: Expression | null; name: string; arguments: Arguments };
export type Target =
  | { type: "name"; name: string }
  | { type: "namespace"; name: string; attribute: string }
  | { type: "targets"; targets: Target[] };

export type Expression =
  | { type: "constant"; value: Value }
  | { type: "name"; name: string }
  | { type: "attribute"; object: Expression; name: string }
  | { type: "item"; object: Expression; key: Expression }
  | { type: "slice"; start: Expression | null; stop: Expression | null; step: Expression | null }
  | { type: "list"; items: Expression[] }
  | { type: "tuple"; items: Expression[] }
  | { type: "dict"; entries: [Expression, Expression][] }
  | Call
  | Filter
  | { type: "test"; value: Expression; name: string; arguments: Arguments }
  | { type: "sign"; sign: "-" | "+"; value: Expression }
  | { type: "not"; value: Expression }
  | { type: "arithmetic"; operator: Arithmetic; left: Expression; right: Expression }
  | { type: "concat"; parts: Expression[] }
  | { type: "compare"; first: Expression; rest: { operator: Comparison; value: Expression }[] }
  | { type: "and" | "or"; left: Expression; right: Expression }
  | { type: "condition"; test: Expression; yes: Expression; no: Expression | null };

/** A macro's or call block's parameters and body, and which of its special variables the body mentions. */
export interface MacroBody {
  name: string | null;
  parameters: { name: string; fallback: Expression | null }[];
  body: Statement[];
  mentions: ReadonlySet<string>;
}

export interface For {
  type: "for";
  target: Target;
  items: Expression;
  filter: Expression | null;
  recursive: boolean;
  body: Statement[];
  otherwise: Statement[];
  /** Does the body mention `loop`? */
  usesLoop: boolean;
}

export type Statement =
  | { type: "data"; text: string }
  | { type: "output"; value: Expression }
  | { type: "if"; branches: { test: Expression; body: Statement[] }[]; otherwise: Statement[] }
  | For
  | { type: "break" | "continue" }
  | { type: "set"; target: Target; value: Expression }
  | { type: "set block"; target: Target; filter: Filter | null; body: Statement[] }
  | { type: "with"; targets: Target[]; values: Expression[]; body: Statement[] }
  | { type: "filter block"; filter: Filter; body: Statement[] }
  | { type: "macro"; macro: MacroBody }
  | { type: "call block"; call: Call; macro: MacroBody }
  | { type: "generation"; body: Statement[] }
  | { type: "block"; name: string; scoped: boolean; body: Statement[] }
  | { type: "autoescape"; value: Expression; body: Statement[] }
  /** extends, include, import, from: no other template can be loaded. */
  | { type: "other template" };
