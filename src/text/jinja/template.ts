/**
 * Jinja2 templates, as Hugging Face transformers renders chat templates: its settings, its sandbox, its functions.
 * A template is parsed to a tree (lexer.ts, parser.ts), compiled to operations (compiler.ts), and run by a machine that
 * pauses (machine.ts) under a budget (budget.ts).
 */
import { Budget, BudgetError, MAX_STEPS } from "./budget.ts";
import { compile } from "./compiler.ts";
import { TemplateError } from "./errors.ts";
import { globals } from "./globals.ts";
import { type Code, Machine, Scope } from "./machine.ts";
import { parse } from "./parser.ts";
import { fromJs } from "./values.ts";

export interface RenderOptions {
  now?: () => Date;
  maxSteps?: number;
}

export class JinjaTemplate {
  readonly #code: Code;

  /** @throws TemplateError TemplateSyntaxError where `source` does not parse. */
  constructor(source: string) {
    this.#code = withStack(
      () => compile(parse(source)),
      () => {
        throw new TemplateError("TemplateSyntaxError", "it nests too deeply");
      },
    );
  }

  /**
   * Begins to render. Each call of the function that comes back runs one slice, about 5 ms at most, and returns the text
   * once it is complete, null before.
   * @param variables JavaScript values, see fromJs.
   * @param options now: the time, for strftime_now; maxSteps: the budget.
   * @throws (both) TemplateError, TemplateRefusal (the template called raise_exception), BudgetError.
   */
  start(variables: Record<string, unknown>, options: RenderOptions = {}): () => string | null {
    const { now = () => new Date(), maxSteps = MAX_STEPS } = options;
    return deepGuard(() => {
      const given = new Scope(globals(now));
      for (const [name, value] of Object.entries(variables)) given.set(name, fromJs(value));
      const machine = new Machine(this.#code, new Scope(given), new Budget(maxSteps));
      return () => deepGuard(() => machine.run());
    });
  }

  /** Renders without a pause. */
  render(variables: Record<string, unknown>, options?: RenderOptions): string {
    const run = this.start(variables, options);
    for (;;) {
      const text = run();
      if (text !== null) return text;
    }
  }
}

/** Values and texts that nest too deeply for JavaScript's own stack end in a budget's error. */
function deepGuard<T>(run: () => T): T {
  return withStack(run, () => {
    throw new BudgetError("the chat template handles values that nest too deeply");
  });
}

function withStack<T>(run: () => T, overflow: () => never): T {
  try {
    return run();
  } catch (error) {
    if (error instanceof RangeError && /call stack/i.test(error.message)) return overflow();
    throw error;
  }
}
