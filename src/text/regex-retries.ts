/**
 * How often a regular expression of a tokenizer.json can go back and try again. The library that runs it (Oniguruma, within
 * `tokenizers`) gives up after MAX_RETRIES, and giving up ends the process. So such an expression is found out beforehand.
 *
 * The bound is that of the worst text. It does not look at which characters are meant: `a*a*b` and `a*c*b` are alike.
 */

/** Oniguruma's limit for one match. */
export const MAX_RETRIES = 10_000_000;

const MAX_PATTERN_LENGTH = 65_536;
const MAX_DEPTH = 64;

/** What a part of an expression can do at one place of a text. */
interface Part {
  /** In how many ways it can match. */
  ways: number;
  /** How often it can come to a dead end. */
  fails: number;
  /** Is there a text that it does not match? */
  canFail: boolean;
  /** Characters of its shortest match. */
  width: number;
}

const NOTHING: Part = { ways: 1, fails: 1, canFail: false, width: 0 };
const ANCHOR: Part = { ...NOTHING, canFail: true };
const CHARACTER: Part = { ...ANCHOR, width: 1 };

/**
 * @param length characters of the longest text
 * @returns the most retries at one place of a text, perhaps infinity; and the characters of the shortest match
 * @throws Error naming what the expression has that cannot be judged, such as references back
 */
export function judgeRegex(pattern: string, length: number): { retries: number; width: number } {
  if (pattern.length > MAX_PATTERN_LENGTH) throw new Error(`it has more than ${MAX_PATTERN_LENGTH} characters`);
  const { fails, width } = new Reader(pattern, length).read();
  return { retries: fails, width };
}

class Reader {
  readonly #pattern: string;
  readonly #length: number;
  #at = 0;
  #depth = 0;

  constructor(pattern: string, length: number) {
    this.#pattern = pattern;
    this.#length = length;
  }

  read(): Part {
    const whole = this.#alternatives();
    if (this.#at < this.#pattern.length) throw new Error("a parenthesis is closed that was not opened");
    return whole;
  }

  #alternatives(): Part {
    if (++this.#depth > MAX_DEPTH) throw new Error("its groups are nested too deeply");
    const branches = [this.#sequence()];
    while (this.#take(/\|/y)) branches.push(this.#sequence());
    this.#depth--;
    return {
      ways: sum(branches.map(({ ways }) => ways)),
      fails: sum(branches.map(({ fails }) => fails)),
      canFail: branches.every(({ canFail }) => canFail),
      width: Math.min(...branches.map(({ width }) => width)),
    };
  }

  #sequence(): Part {
    const parts: Part[] = [];
    while (this.#at < this.#pattern.length && !/[|)]/.test(this.#pattern[this.#at]!)) {
      // (?i) holds for all that follows, branches too: they are the rest of this sequence.
      if (this.#take(/\(\?[im]*(?:-[im]+)?\)/y)) parts.push(this.#alternatives());
      else parts.push(...this.#repeated(this.#atom()));
    }
    return inTurn(parts);
  }

  /** The part with the quantifiers that follow it. */
  #repeated(part: Part): Part[] {
    let parts = [part];
    for (;;) {
      const simple = this.#take(/[?*+]/y)?.[0];
      if (simple !== undefined) {
        parts = repeat(inTurn(parts), simple === "+" ? 1 : 0, simple === "?" ? 1 : this.#length);
        if (this.#take(/\+/y)) parts = [atomic(inTurn(parts))];
        else this.#take(/\?/y);
        continue;
      }
      const bounds = this.#take(/\{(\d*)(,?)(\d*)\}/y);
      if (bounds === null || !/\d/.test(bounds[0])) {
        if (bounds !== null) this.#at -= bounds[0].length - 1;
        return bounds === null ? parts : [...parts, CHARACTER];
      }
      const [, least, comma, most] = bounds;
      const to = most !== "" ? Number(most) : comma === "" ? Number(least) : this.#length;
      const [low, high] = [Math.min(Number(least), to), Math.max(Number(least), to)];
      parts = repeat(inTurn(parts), low, high);
    }
  }

  #atom(): Part {
    if (this.#take(/\(/y)) return this.#group();
    if (this.#take(/\[/y)) return this.#class();
    if (this.#take(/[\^$]/y)) return ANCHOR;
    if (!this.#take(/\\/y)) return this.#character();
    if (this.#take(/[1-9kgcCM]/y)) throw new Error("it has references back, calls, or control characters");
    if (this.#take(/[bBAZzGKyY]/y)) return ANCHOR;
    this.#escape();
    return CHARACTER;
  }

  #character(): Part {
    this.#at += (this.#pattern.codePointAt(this.#at) ?? 0) > 0xffff ? 2 : 1;
    return CHARACTER;
  }

  /** What follows a backslash, with its braces. */
  #escape(): void {
    if (this.#at >= this.#pattern.length) throw new Error("it ends with a backslash");
    if (!this.#take(/[pPxuo]\{[^{}]*\}/y)) this.#character();
  }

  #group(): Part {
    const kind = this.#take(/\?(?:[:=!>]|<[=!]|<\w+>|[im]*(?:-[im]+)?:)/y)?.[0] ?? "";
    if (kind === "" && this.#pattern[this.#at] === "?")
      throw new Error(`it has a group of the kind (${this.#pattern.slice(this.#at, this.#at + 2)}`);
    const inner = this.#alternatives();
    if (!this.#take(/\)/y)) throw new Error("a parenthesis is not closed");
    if (/^\?<?[=!]$/.test(kind)) return { ...atomic(inner), canFail: true, width: 0 };
    return kind === "?>" ? atomic(inner) : inner;
  }

  /** To the bracket that closes it; there may be others within. */
  #class(): Part {
    this.#classBegins();
    let depth = 1;
    while (depth > 0) {
      if (this.#at >= this.#pattern.length) throw new Error("a class is not closed");
      if (this.#take(/\\/y)) {
        if (this.#take(/[cCM]/y)) throw new Error("it has control characters");
        this.#escape();
      } else if (this.#take(/\[/y)) {
        depth++;
        this.#classBegins();
      } else if (this.#take(/\]/y)) depth--;
      else this.#character();
    }
    return CHARACTER;
  }

  #classBegins(): void {
    this.#take(/\^/y);
    if (this.#take(/\]/y)) throw new Error("a class begins with a bracket that has no backslash");
  }

  /** What the pattern has here, if it is that. `sticky` has the flag y. */
  #take(sticky: RegExp): RegExpExecArray | null {
    sticky.lastIndex = this.#at;
    const found = sticky.exec(this.#pattern);
    if (found) this.#at = sticky.lastIndex;
    return found;
  }
}

function sum(numbers: number[]): number {
  return numbers.reduce((total, each) => total + each, 0);
}

/** Nothing goes back into it once it has matched. */
function atomic(part: Part): Part {
  return { ...part, ways: 1 };
}

/** One after the other. Each way of what stands before the last part that can fail may come to a dead end there. */
function inTurn(parts: readonly Part[]): Part {
  const last = parts.findLastIndex(({ canFail }) => canFail);
  const before = parts.slice(0, Math.max(last, 0)).reduce((product, { ways }) => product * ways, 1);
  const most = (some: readonly Part[]) => Math.max(1, ...some.map(({ fails }) => fails));
  return {
    ways: parts.reduce((product, { ways }) => product * ways, 1),
    fails: Math.max(before * most(parts.slice(0, last + 1)), most(parts.slice(last + 1))),
    canFail: last >= 0,
    width: sum(parts.map(({ width }) => width)),
  };
}

/** What must be there, and what may follow it. */
function repeat(part: Part, least: number, most: number): Part[] {
  const { ways, fails, canFail, width } = part;
  const must: Part = {
    ways: ways ** least,
    fails: fails * ways ** Math.max(0, least - 1),
    canFail: canFail && least > 0,
    width: width * least,
  };
  const more = most - least;
  const may: Part = {
    ways: ways === 1 ? more + 1 : (ways ** (more + 1) - 1) / (ways - 1),
    fails: fails === 1 ? 1 : fails * more,
    canFail: false,
    width: 0,
  };
  return least === 0 ? [may] : [must, may];
}
