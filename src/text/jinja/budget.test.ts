/** Hostile templates end soon, in an error that names the budget: counted in steps, which do not depend on the machine. */
import { describe, expect, test } from "bun:test";
import { MAX_TEMPLATE_LENGTH } from "../../limits.ts";
import { Budget, BudgetError, chargeItems, MAX_OPERATION_STEPS, MAX_STEPS, SLICE_STEPS, spend } from "./budget.ts";
import { TemplateError } from "./errors.ts";
import { JinjaTemplate } from "./template.ts";

const grow = (by: string, first: string) =>
  `{% set ns = namespace(x=${first}, y=${first}) %}{% for i in range(60) %}{% set ns.x = ${by} %}{% set ns.y = ns.x %}{% endfor %}`;

const TEXT = /text of more than/;
const LIST = /list of more than/;
const STEPS = /takes more than \d+ steps/;
const DEPTH = /call each other more than/;
const AT_ONCE = /too much data at once/;

const HOSTILE: Record<string, [template: string, error: RegExp]> = {
  "two nested loops": ["{% for i in range(10000) %}{% for j in range(10000) %}{% endfor %}{% endfor %}", STEPS],
  "a recursive macro": ["{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}", DEPTH],
  "a macro that calls itself twice": [
    "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
    STEPS,
  ],
  "a recursive loop": ["{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}", DEPTH],
  "a block in itself": ["{% block a %}{{ self.a() }}{% endblock %}", DEPTH],
  "a long text": ["{{ 'x' * 10 ** 9 }}", TEXT],
  "a long list": ["{{ [1] * 10 ** 9 }}", LIST],
  "a long range": ["{{ range(10 ** 9) }}", /MAX_RANGE/],
  "a large number": ["{{ 10 ** 1000000000 }}", /more than \d+ bits/],
  "a number that grows": [grow("ns.x * ns.x", "3"), /more than \d+ bits/],
  "a text that doubles": [grow("ns.x ~ ns.x", "'x'"), TEXT],
  "a list that doubles": [grow("ns.x + ns.x", "[1]"), LIST],
  "a tree of shared lists, printed": [`${grow("[ns.x, ns.x]", "[1]")}{{ ns.x }}`, AT_ONCE],
  "as JSON": [`${grow("[ns.x, ns.x]", "[1]")}{{ ns.x | tojson }}`, AT_ONCE],
  "printed nicely": [`${grow("[ns.x, ns.x]", "[1]")}{{ ns.x | pprint }}`, AT_ONCE],
  compared: [
    `${grow("[ns.x, ns.x]", "[1]")}${grow("[ns.x, ns.x]", "[1]").replaceAll("ns", "other")}{{ ns.x == other.x }}`,
    AT_ONCE,
  ],
  "as a key": [`${grow("(ns.x, ns.x)", "(1,)")}{{ {ns.x: 1} }}`, AT_ONCE],
  "deep lists, printed": [
    "{% set ns = namespace(x=[]) %}{% for i in range(100000) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x }}",
    /nest too deeply/,
  ],
  "a wide field": ["{{ '%1000000000d' % 1 }}", /asks for 1000000000 places/],
  "a wide field of format()": ["{{ '{:1000000000}'.format(1) }}", /asks for 1000000000 places/],
  "many digits": ["{{ '%.1000000000f' % 1 }}", /asks for 1000000000 places/],
  "a text in the middle of much space": ["{{ 'x' | center(10 ** 9) }}", /asks for 1000000000 places/],
  "a long row": ["{{ [1] | batch(10 ** 9, 0) | list }}", LIST],
  "many slices": ["{{ [1] | slice(10 ** 9) | list }}", AT_ONCE],
  "many texts joined": ["{{ (['x' * 1000000] * 100000) | join }}", TEXT],
  "many replacements": ["{{ ('x' * 10000000).replace('x', 'xxxx') }}", AT_ONCE],
  "a long format": ["{{ ('%s' * 3000000) % (1,) }}", /./],
  "long dates": ["{{ strftime_now('%c' * 1000000) }}", /at most 1000 characters/],
  "many digits read": ["{{ ('9' * 5000000) | int }}", /4300 digits/],
  "deep parentheses": [`{{ ${"(".repeat(49_000)}1${")".repeat(49_000)} }}`, /nests too deeply/],
  "deep blocks": [`${"{% if 1 %}".repeat(4_500)}${"{% endif %}".repeat(4_500)}{{ 1() }}`, /./],
  "a long sum": [`{{ 1${"+1".repeat(49_000)} }}`, /nests too deeply/],
};

/** Runs to the end, and checks that every slice kept its bound. */
function run(source: string): string {
  const step = new JinjaTemplate(source).start({ messages: [] });
  for (;;) {
    const text = step();
    if (text !== null) return text;
  }
}

describe("a hostile template", () => {
  for (const [name, [template, error]] of Object.entries(HOSTILE)) {
    test(`${name} ends in a clear error`, () => {
      expect(template.length).toBeLessThanOrEqual(MAX_TEMPLATE_LENGTH);
      let thrown: unknown;
      try {
        run(template);
      } catch (caught) {
        thrown = caught;
      }
      expect(thrown instanceof BudgetError || thrown instanceof TemplateError).toBe(true);
      expect((thrown as Error).message).toMatch(error);
    });
  }

  test("white space is read once", () => {
    const space = " ".repeat(99_000);
    expect(run(`{{${space}1 }}`)).toBe("1");
    expect(run(`${space}{%- if true %}x{% endif %}`)).toBe("x");
    expect(run(`{% raw %}${`{%${" ".repeat(900)}`.repeat(90)}{% endraw %}`)).toHaveLength(90 * 902);
    expect(() => run(`{#${"-#".repeat(49_000)}`)).toThrow(/Missing end of comment/);
  });
});

describe("the budget", () => {
  test("a render pauses after each slice, and what is in between is bounded", () => {
    const budget = new Budget();
    spend(budget, () => {
      chargeItems(SLICE_STEPS + MAX_OPERATION_STEPS);
      expect(() => chargeItems(1)).toThrow(AT_ONCE);
    });
    const step = new JinjaTemplate("{% for i in range(100000) %}{% endfor %}done").start({});
    let slices = 0;
    let text: string | null = null;
    while (text === null) {
      text = step();
      slices++;
    }
    expect(text).toBe("done");
    expect(slices).toBeGreaterThan(3);
  });

  test("all slices together are bounded", () => {
    const budget = new Budget();
    const slices = () => {
      for (;;) spend(budget, () => chargeItems(SLICE_STEPS));
    };
    expect(slices).toThrow(STEPS);
    expect(budget.used).toBeGreaterThan(MAX_STEPS);
    const small = new Budget(10);
    expect(() => spend(small, () => chargeItems(11))).toThrow("takes more than 10 steps");
  });

  test("outside a render nothing is charged", () => {
    expect(() => chargeItems(MAX_STEPS * 2)).not.toThrow();
  });

  test("long conversations have room", () => {
    const template = new JinjaTemplate(
      "{% for m in messages %}{{ m.role }}: {{ m.content | trim }}{% for n in messages[loop.index:] %}{% if n.role == 'x' %}!{% endif %}{% endfor %}|{% endfor %}",
    );
    const messages = Array.from({ length: 2000 }, (_, i) => ({
      role: i % 2 ? "assistant" : "user",
      content: ` ${i} `.repeat(50),
    }));
    expect(template.render({ messages }).split("|")).toHaveLength(2001);
  });
});
