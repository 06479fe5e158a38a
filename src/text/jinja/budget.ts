/**
 * What a template may spend. A template is a program, and may come from anybody: without bounds, two nested loops or one
 * repeated string would hold up everyone else for good.
 *
 * Work is counted in steps. One step is one operation of the machine, one list item made or looked at, or 16 characters
 * made or looked at (256 where they are only copied or compared): about 10 to 50 ns. The machine pauses after SLICE_STEPS, so that others get their turn.
 */

/** Steps of one render: about 2 s. A conversation of 2,000 messages takes under 1 million in most templates. */
export const MAX_STEPS = 50_000_000;

/** Steps between two pauses: about 2 ms. */
export const SLICE_STEPS = 50_000;

/** Steps of one operation, which cannot be paused: about 15 ms. */
export const MAX_OPERATION_STEPS = 500_000;

/** UTF-16 code units of the output, and of every string that a template makes. */
export const MAX_TEXT_LENGTH = 16 * 1024 * 1024;

/** Items of a list that a template makes. */
export const MAX_LIST_LENGTH = 250_000;

/** Macros, recursive loops and call blocks that are active at once. Jinja2 fails at about 300. */
export const MAX_CALL_DEPTH = 500;

/** Bits of an integer. Python prints no integer of more than 4,300 digits. */
export const MAX_INTEGER_BITS = 16_384;

/** A budget is spent. The message says which one and what to do. */
export class BudgetError extends Error {
  constructor(what: string) {
    super(`${what}. Shorten the conversation, or use a simpler template`);
  }
}

/** The steps of one render. */
export class Budget {
  used = 0;
  /** The machine pauses at the first operation boundary past this count. */
  sliceEnd = 0;

  constructor(readonly maxSteps = MAX_STEPS) {}

  /** @throws BudgetError where the render, or the running operation, has used up its steps. */
  charge(steps: number): void {
    this.used += steps;
    if (this.used > this.maxSteps) throw new BudgetError(`the chat template takes more than ${this.maxSteps} steps`);
    if (this.used > this.sliceEnd + MAX_OPERATION_STEPS) {
      throw new BudgetError("one operation of the chat template handles too much data at once");
    }
  }
}

/** The budget of the slice that runs right now. A slice runs to its end before any other code does. */
let active: Budget | null = null;

/** Runs one slice: what `slice` does is charged to `budget`. */
export function spend<T>(budget: Budget, slice: () => T): T {
  const before = active;
  active = budget;
  budget.sliceEnd = budget.used + SLICE_STEPS;
  try {
    return slice();
  } finally {
    active = before;
  }
}

/** Charges the running slice for `items` list items made or looked at. */
export function chargeItems(items: number): void {
  active?.charge(items);
}

/** Charges the running slice for `length` characters made or looked at. */
export function chargeText(length: number): void {
  active?.charge(length >> 4);
}

/** Charges the running slice for `length` characters copied or compared, which is far cheaper than a look at each. */
export function chargeCopy(length: number): void {
  active?.charge(length >> 8);
}

/** Charges for a string of `length` code units, joined of others. @throws BudgetError where it is too long. */
export function allowJoined(length: number): void {
  if (length > MAX_TEXT_LENGTH) allowText(length);
  chargeCopy(length);
}

/** Charges for a string about to be made of `length` code units. @throws BudgetError where it is too long. */
export function allowText(length: number): void {
  if (length > MAX_TEXT_LENGTH) {
    throw new BudgetError(`the chat template makes a text of more than ${MAX_TEXT_LENGTH} characters`);
  }
  chargeText(length);
}

/** Charges for a list about to be made of `length` items. @throws BudgetError where it is too long. */
export function allowList(length: number): void {
  if (length > MAX_LIST_LENGTH) {
    throw new BudgetError(`the chat template makes a list of more than ${MAX_LIST_LENGTH} items`);
  }
  chargeItems(length);
}
