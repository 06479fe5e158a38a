/** Random answers, made of what formats are made of: how they are cut changes nothing, and nothing is lost. */
import { describe, expect, test } from "bun:test";
import { TOOL_FORMATS } from "./formats.ts";
import { REASONING_FORMATS } from "./reasoning.ts";
import { cut, partsOf, whole } from "./testing.ts";

const PIECES = [
  ...TOOL_FORMATS.flatMap(({ marks }) => marks),
  ...REASONING_FORMATS.flatMap(({ begin, end }) => [begin, end]),
  ...['{"name": "f"', '"name": "g"', '{"arguments": {"a": "b"}', '"parameters": {', "{", "}", "[", "]", "(", ")", '"'],
  ...[
    "f(",
    "a=",
    "True",
    "'",
    ",",
    ", ",
    ":",
    ";",
    "=",
    "\\",
    "\\u00",
    "1",
    "-2.5e3",
    "null",
    "\n",
    " ",
    "  \n",
    "```json\n",
  ],
  ...[
    "function",
    "```",
    "text",
    "é",
    "😀",
    "<",
    "<tool",
    "<|",
    "</",
    "[TOOL",
    "<think",
    "｜",
    '{"name": "f", "arguments": {"x": 1}}',
  ],
];

class Random {
  constructor(private state: number) {}

  below(n: number): number {
    this.state = (Math.imul(this.state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((this.state / 2 ** 32) * n);
  }

  answer(): string {
    return Array.from({ length: 1 + this.below(14) }, () => PIECES[this.below(PIECES.length)]!).join("");
  }
}

const FORMATS = TOOL_FORMATS.flatMap((tools) =>
  ["none", ...REASONING_FORMATS.map(({ name }) => name)].map((reasoning) => ({ tools: tools.name, reasoning })),
);

/** Is every character of `part` in `text`, in this order? */
function isWithin(part: string, text: string): boolean {
  let at = 0;
  for (const c of part) {
    at = text.indexOf(c, at) + 1;
    if (at === 0) return false;
  }
  return true;
}

describe.each(FORMATS)("$tools, $reasoning", (format) => {
  test("no cut changes what is read, and what is no call is all there", () => {
    const random = new Random(format.tools.length * 31 + format.reasoning.length);
    for (let i = 0; i < 400; i++) {
      const text = random.answer();
      const asked = { thinkingOpen: random.below(2) === 1 };
      const once = whole(partsOf(format, [text], asked).flat());
      for (const pieces of [[...text], cut(text, i + 1)]) {
        expect([text, whole(partsOf(format, pieces, asked).flat())]).toEqual([text, once]);
      }
      // Pieces of the answer in their order; and where no mark was read, all of them but for spaces where reasoning begins.
      const all = once.reasoning + once.text;
      expect({ text, all: isWithin(all, text) }).toEqual({ text, all: true });
      const marks = REASONING_FORMATS.some(({ begin, end }) => text.includes(begin) || text.includes(end));
      if (once.calls.length === 0 && !marks) {
        const spaces = once.reasoning === "" ? "" : text.slice(0, -text.trimStart().length);
        expect(spaces + (once.reasoning || once.text)).toBe(asked.thinkingOpen && all === "" ? "" : text);
      }
    }
  });
});
