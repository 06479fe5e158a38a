/**
 * How far compiles are ahead of the prompts. Where both share few cores, a burst of new grammars would hold all prompts back, the
 * last of which needs its grammar long after. So compiles keep to the order and the pace in which answers begin. Pure: it is told
 * the time.
 */

/** Milliseconds after which the next compile begins all the same: whoever waits hears in time that a grammar cannot be used. */
const LONGEST_REST = 50;

export class CompilePace<Grammar> {
  /** Prompt tokens of answers whose grammars are compiled, and that have not begun. */
  readonly #ahead = new Map<Grammar, number>();
  #tokens = 0;
  /** When a grammar was last compiled. */
  #compiled = Number.NEGATIVE_INFINITY;

  /** `mostAhead`: so many prompt tokens; Infinity = compiles never wait. */
  constructor(private readonly mostAhead: number) {}

  /** A grammar is compiled that the answer to a prompt of `tokens` waits for. */
  compiled(grammar: Grammar, tokens: number, now: number): void {
    this.#ahead.set(grammar, tokens);
    this.#tokens += tokens;
    this.#compiled = now;
  }

  /** Its answer has begun, or never will. Nothing for a grammar that is not known. */
  begun(grammar: Grammar): void {
    this.#tokens -= this.#ahead.get(grammar) ?? 0;
    this.#ahead.delete(grammar);
  }

  /** Milliseconds for which the next compile shall wait, unless an answer begins. */
  rest(now: number): number {
    return this.#tokens < this.mostAhead ? 0 : Math.max(0, this.#compiled + LONGEST_REST - now);
  }
}
